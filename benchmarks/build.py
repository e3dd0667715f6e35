"""From a resolved entry {class_path, init_args} to its object."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any


def class_at(path: str) -> Any:
    """The class or function at a dotted path, imported."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def build(node: Mapping[str, Any], *args: Any) -> Any:
    """The object of a resolved entry."""
    return class_at(node["class_path"])(*args, **node.get("init_args", {}))


def class_paths(config: Mapping[str, Any]) -> list[str]:
    """Every class path in a configuration, nested ones too."""
    found: list[str] = []
    stack: list[Any] = [config]
    while stack:
        node = stack.pop()
        if isinstance(node, Mapping):
            found += [node["class_path"]] if isinstance(node.get("class_path"), str) else []
            stack += node.values()
        elif isinstance(node, list):
            stack += node
    return sorted(set(found))

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

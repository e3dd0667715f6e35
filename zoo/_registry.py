"""The catalogue's index: model names and class paths, read from the sources without importing them."""

from __future__ import annotations

import ast
import difflib
import fnmatch
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent
BASE = "ZooModule"  # a class is a model when it derives from this base, itself or by way of its family's private files


@dataclass(frozen=True)
class Entry:
    """One public class of a family, and what it derives from in the family's private files, nearest first."""

    family: str
    module: str
    node: ast.ClassDef
    bases: tuple[ast.ClassDef, ...]

    @property
    def name(self) -> str:
        return f"{self.family}.{self.node.name}"

    @property
    def class_path(self) -> str:
        return f"zoo.{self.name}"

    @property
    def is_model(self) -> bool:
        return any(BASE in _bases(node) for node in (self.node, *self.bases))


def _bases(node: ast.ClassDef) -> list[str]:
    """The names of the classes that a class derives from directly."""
    return [ast.unparse(base).rpartition(".")[2] for base in node.bases]


def families(root: Path = ROOT) -> list[str]:
    """Names of the family folders."""
    return sorted(p.parent.name for p in root.glob("*/__init__.py") if not p.parent.name.startswith("_"))


def _classes(family: str, root: Path) -> Iterator[Entry]:
    written = {path.stem: _top_level(path) for path in sorted((root / family).glob("*.py"))}
    private = {node.name: node for stem, nodes in written.items() if stem.startswith("_") for node in nodes}
    for stem, nodes in written.items():
        if stem.startswith("_"):
            continue
        for node in nodes:
            if not node.name.startswith("_"):
                yield Entry(family, f"zoo.{family}.{stem}", node, tuple(_ancestors(node, private)))


def _top_level(path: Path) -> list[ast.ClassDef]:
    body = ast.parse(path.read_text(encoding="utf-8"), str(path)).body
    return [node for node in body if isinstance(node, ast.ClassDef)]


def _ancestors(node: ast.ClassDef, known: Mapping[str, ast.ClassDef]) -> list[ast.ClassDef]:
    """The known classes from which a class derives, nearest first; a name counts once."""
    found: dict[str, ast.ClassDef] = {}
    wanted = _bases(node)
    while wanted:
        name = wanted.pop(0)
        if name in known and name not in found:
            found[name] = known[name]
            wanted += _bases(known[name])
    return list(found.values())


@cache
def entries(root: Path = ROOT) -> dict[str, Entry]:
    """Every public class of the zoo by its bare name; a name that stands twice is refused.

    Raises ValueError naming both places of a duplicate.
    """
    found: dict[str, Entry] = {}
    for family in families(root):
        for entry in _classes(family, root):
            if (other := found.setdefault(entry.node.name, entry)) is not entry:
                raise ValueError(
                    f"class name {entry.node.name!r} stands twice, in {other.module} and in {entry.module}: "
                    "names are unique across the zoo, rename one of them"
                )
    return found


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models (`family.Class`) that match a glob on the full or the bare class name."""
    models = [entry for entry in entries().values() if entry.is_model]
    return sorted(m.name for m in models if any(fnmatch.fnmatchcase(n, pattern) for n in (m.name, m.node.name)))


def find(name: str) -> Entry:
    """The model of that name: `family.Class`, `Class` or `zoo.family.Class`.

    Raises ValueError with the closest names.
    """
    known = {entry.name: entry for entry in entries().values() if entry.is_model}
    wanted = name.removeprefix("zoo.")
    wanted = next((full for full in known if full.rpartition(".")[2] == wanted), wanted)
    if wanted not in known:
        raise ValueError(unknown("model", name, known, "zoo.list_models() lists all"))
    return known[wanted]


def unknown(what: str, name: str, known: Any, remedy: str) -> str:
    """The sentence for a bad name: what it is, the closest good ones, where the full list is."""
    by_tail = {full.rpartition(".")[2].lower(): full for full in known}
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    close += [by_tail[t] for t in difflib.get_close_matches(name.rpartition(".")[2].lower(), list(by_tail), n=2)]
    hint = f"; did you mean {' or '.join(dict.fromkeys(close))}?" if close else ";"
    return f"unknown {what} {name!r}{hint} {remedy}"


def info(name: str) -> dict[str, Any]:
    """What the catalogue knows of a model, without importing it.

    Keys: name, class_path, family, summary (first line of the docstring), doc, and hyperparameters, a mapping
    from each argument to its annotation and default as written (default None in place of a text: required).
    """
    entry = find(name)
    doc = ast.get_docstring(entry.node) or ""
    return {
        "name": entry.name,
        "class_path": entry.class_path,
        "family": entry.family,
        "summary": doc.partition("\n")[0],
        "doc": doc,
        "hyperparameters": _hyperparameters((entry.node, *entry.bases)),
    }


def _hyperparameters(nodes: Sequence[ast.ClassDef]) -> dict[str, dict[str, str | None]]:
    """The arguments of the first `__init__` that any of the classes has."""
    parts = (part for node in nodes for part in node.body)
    init = next((part for part in parts if isinstance(part, ast.FunctionDef) and part.name == "__init__"), None)
    if init is None:
        return {}
    positional = init.args.args[1:]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(init.args.defaults)) + list(init.args.defaults)
    pairs = [*zip(positional, defaults, strict=True), *zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)]
    return {
        arg.arg: {
            "type": ast.unparse(arg.annotation) if arg.annotation else None,
            "default": ast.unparse(default) if default else None,
        }
        for arg, default in pairs
    }


def model_class(name: str) -> type:
    """The class of that name, imported."""
    entry = find(name)
    return getattr(importlib.import_module(entry.module), entry.node.name)


def class_at(class_path: str) -> Any:
    """The class at a dotted path, imported. Raises ImportError or AttributeError as Python does."""
    module, _, name = class_path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def lazy_exports(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a family's `__init__`: its public classes, imported on first use."""
    family = package.rpartition(".")[2]

    def names() -> list[str]:
        return sorted(entry.node.name for entry in entries().values() if entry.family == family)

    def load(name: str) -> Any:
        entry = entries().get(name)
        if entry is None or entry.family != family:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(names())}")
        return getattr(importlib.import_module(entry.module), name)

    return load, names

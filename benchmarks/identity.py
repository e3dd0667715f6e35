"""The id of a Run: a hash of everything that determines its result.

That is the resolved configuration, the seed, the data version, torch's release, and the syntax trees (without
comments, docstrings, citations and licences) of the project's and the user's modules that the model, the data and the
training can reach. The project's own `__init__.py` only export names and do not count, so that adding a model leaves
all other ids alone.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

PROJECT = ("zoo", "datamodules", "benchmarks")
FRAME = ("benchmarks.train",)
STACK = (*FRAME, "benchmarks.stack")
TOGETHER = (*FRAME, "benchmarks.together")
APART = ("zoo._preprocessing",)  # what a loaded model does to raw input, which no training sees
TELLING = ("citation", "licence")  # what is said of a thing, like its docstring


def run_id(
    config: Mapping[str, Any], seed: int, data_version: str, classes: Iterable[str], frame: Iterable[str] = FRAME
) -> str:
    """Twelve hex digits: equal for equal results, whatever the order of the configuration's keys."""
    release = ".".join(torch.__version__.split(".")[:2])
    modules = sorted({path.rpartition(".")[0] for path in classes} | set(frame))
    facts = {"config": config, "seed": seed, "data": data_version, "torch": release, "code": code_digest(modules)}
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def code_digest(modules: Iterable[str]) -> str:
    """The digest of the modules and of everything that they import, libraries and the standard library left out."""
    digests = {name: _digest(*file) for name, file in _reached(modules).items()}
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def packages(modules: Iterable[str], data: Iterable[str] = ()) -> set[str]:
    """The libraries, by the names that they are imported by, that modules and everything they import use.

    In the modules of `data` imports inside functions do not count: one file holds the sets of several libraries, and
    each class names its own.
    """
    data = set(data)
    named = {*modules, *data}
    for name, file in _reached(named).items():
        named.update(_imports(name, *file, name not in data))
    tops = {name.partition(".")[0] for name in named} - {""}
    return {top for top in tops if top not in sys.stdlib_module_names and not _is_ours(top)}


def _reached(modules: Iterable[str]) -> dict[str, tuple[Path, int]]:
    """The project's and the user's modules among the given ones and all that they import: file and its time."""
    reached: dict[str, tuple[Path, int]] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in (*reached, *APART) or (path := _source(name)) is None:
            continue
        reached[name] = path, path.stat().st_mtime_ns
        waiting += [m for m in (*_parents(name), *_imports(name, *reached[name])) if not _exports_only(m)]
    return reached


def _source(module: str) -> Path | None:
    """The source file of a module of the project or of the user; none for libraries' and for what is no module."""
    if not _is_ours(module.partition(".")[0]):
        return None
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, AttributeError, ValueError):
        return None
    path = Path(spec.origin) if spec and spec.origin else None
    return path if path and path.suffix == ".py" else None


@cache
def _is_ours(top: str) -> bool:
    if top in PROJECT:
        return True
    if not top or top in sys.stdlib_module_names:
        return False
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return False
    places = [Path(place) for place in (spec.submodule_search_locations or [spec.origin or ""])] if spec else []
    return bool(places) and not {"site-packages", "dist-packages"} & set(places[0].parts)


def _parents(module: str) -> list[str]:
    """The packages that are imported with a module."""
    parts = module.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _exports_only(module: str) -> bool:
    """Whether a module is one of the project's tables of exports."""
    path = _source(module)
    return path is not None and path.name == "__init__.py" and module.partition(".")[0] in PROJECT


@cache
def _digest(path: Path, _modified: int) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            kept = [part for part in body if not _only_tells(part) and not (part is body[0] and _is_docstring(part))]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()


def _is_docstring(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _only_tells(node: ast.AST) -> bool:
    """Whether a statement gives a thing its citation or licence, which change no result."""
    if isinstance(node, ast.Assign):
        named = [target for target in node.targets if isinstance(target, ast.Name)]
    else:
        named = [node.target] if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else []
    names = [target.id for target in named] + ([node.name] if isinstance(node, ast.FunctionDef) else [])
    return bool(names) and all(name.lower().endswith(TELLING) for name in names)


@cache
def _imports(module: str, path: Path, _modified: int, inside_functions: bool = True) -> tuple[str, ...]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return tuple(name for node in _run_time_nodes(tree, inside_functions) for name in _named(node, package))


def _run_time_nodes(node: ast.AST, inside_functions: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.FunctionDef) and not inside_functions:
            continue
        yield child
        yield from _run_time_nodes(child, inside_functions)


def _named(node: ast.AST, package: str) -> Iterator[str]:
    """The modules that an import statement may load, lazily exported classes followed to their sources."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        base = ".".join([*parents, *([node.module] if node.module else [])])
        yield base
        for alias in node.names:
            yield f"{base}.{alias.name}"
            if base.partition(".")[0] in PROJECT and _source(base) and _exports_only(base):
                defined = getattr(importlib.import_module(base), alias.name, None)
                yield getattr(defined, "__module__", base)

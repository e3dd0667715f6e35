"""YAML files of benchmarks and suites: where they are, and how they are read."""

from __future__ import annotations

import fnmatch
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from benchmarks.problems import BadInput, Problem, close_matches

LIST_COMMAND = "python -m benchmarks.run --list"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe YAML in which 1e-3 is a number and a key that stands twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in (pair for pair in node.value if pair[0].tag != "tag:yaml.org,2002:merge"):
            if (key := self.construct_object(key_node, deep=True)) in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*(\.[\d_]*)?([eE][-+]?\d+)|\d[\d_]*\.[\d_]*|\.\d+([eE][-+]?\d+)?|\.(inf|nan))$", re.I),
    list("-+0123456789."),
)


def parse(text: str) -> Any:
    """The value of a YAML text. Raises yaml.YAMLError."""
    try:
        return yaml.load(text, Loader=_Loader)
    except TypeError as error:  # a mapping as the key of a mapping
        raise yaml.YAMLError(f"a key must be a text or a number ({error})") from error


def read(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises BadInput naming the file and the line."""
    try:
        document = parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput([Problem(shown(path), "", f"cannot be read: {error}")]) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise BadInput([Problem(shown(path), line, f"broken YAML: {getattr(error, 'problem', error)}")]) from error
    if not isinstance(document, dict):
        raise BadInput([Problem(shown(path), "", f"expected a mapping, got {type(document).__name__}")])
    return document


def shown(path: Path) -> str:
    """A path as messages show it: relative to the working directory where that is shorter."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


@cache
def config_root() -> Path:
    """The folder of the shipped configurations: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).parent
    checkout = package.parent / "configs"
    return checkout if (checkout / "suites").is_dir() else package / "configs"


def benchmark_files() -> dict[str, Path]:
    """Every shipped benchmark by its name `family/benchmark`."""
    root = config_root()
    found = {p.relative_to(root).with_suffix("").as_posix(): p for p in sorted(root.glob("*/*.yaml"))}
    return {name: path for name, path in found.items() if not name.startswith("suites/")}


def suite_files() -> dict[str, Path]:
    """Every shipped suite by its name."""
    return {p.stem: p for p in sorted((config_root() / "suites").glob("*.yaml"))}


def select(names: list[str]) -> dict[str, tuple[Path, bool]]:
    """Benchmarks by name, glob or path of a .yaml, as name → (file, named exactly).

    Raises BadInput with close matches for a name that fits nothing.
    """
    files, chosen, problems = benchmark_files(), {}, []
    for name in names:
        if name.endswith((".yaml", ".yml")):
            stem = Path(name).stem
            if not Path(name).is_file():
                problems.append(Problem("command line", name, f"no file {name} in {Path.cwd()}"))
            elif stem in chosen:
                message = f"two benchmarks of the name {stem!r}: their Results would mix, rename one of the files"
                problems.append(Problem("command line", name, message))
            chosen[stem] = (Path(name), True)
        elif matches := [n for n in files if fnmatch.fnmatchcase(n, name)]:
            for match in matches:
                exact = match == name or chosen.get(match, (None, False))[1]
                chosen[match] = (files[match], exact)
        else:
            close = close_matches(name, list(files))
            problems.append(Problem("command line", name, f"unknown benchmark {name!r}", close, LIST_COMMAND))
    if problems:
        raise BadInput(problems)
    return chosen


def suite(name: str) -> dict[str, dict[str, Any]]:
    """The benchmarks of a suite (names or globs) with their overrides `{seeds: …, set: {…}}`."""
    files = suite_files()
    if name not in files:
        message = f"unknown suite {name!r}; expected one of {', '.join(files)}"
        raise BadInput([Problem("command line", "--suite", message, close_matches(name, list(files)))])
    path, document = files[name], read(files[name])
    problems = [Problem(shown(path), k, f"unknown key {k!r}") for k in document if k not in ("title", "benchmarks")]
    chosen: dict[str, dict[str, Any]] = {}
    for position, item in enumerate(document.get("benchmarks") or []):
        entry = {"name": item} if isinstance(item, str) else item
        if (
            not isinstance(entry, dict)
            or not isinstance(entry.get("name"), str)
            or set(entry) - {"name", "seeds", "set"}
        ):
            expected = "expected a name or {name: …, seeds: …, set: {…}}"
            problems.append(Problem(shown(path), f"benchmarks[{position}]", f"{expected}, got {item!r}"))
            continue
        for match in select([entry["name"]]):
            chosen[match] = {k: v for k, v in entry.items() if k != "name"}
    if problems:
        raise BadInput(problems)
    return chosen

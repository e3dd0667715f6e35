"""Entries of the form {class_path, init_args}: checked against the classes' signatures.

The only module that knows jsonargparse.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jsonargparse

from benchmarks.build import class_at
from benchmarks.problems import BadInput, Problem, close_matches, unknown_key, wrong_type


@dataclass
class Checker:
    """Collects the problems of one file's entries."""

    file: str
    problems: list[Problem] = field(default_factory=list)

    def add(self, entry: str, message: str, close: tuple[str, ...] = (), command: str = "") -> None:
        self.problems.append(Problem(self.file, entry, message, close, command))

    def resolve(
        self,
        entry: str,
        node: Any,
        base: type,
        *,
        fill: Mapping[str, Any] | None = None,
        given: tuple[str, ...] = (),
        extra: tuple[str, ...] = (),
    ) -> dict[str, Any] | None:
        """The entry with every argument, defaults included, or None where something is wrong with it.

        `fill` gives values for arguments that the entry leaves out, `given` names arguments that come at build
        time, `extra` names keys allowed beside class_path and init_args.
        """
        if not isinstance(node, dict) or not isinstance(node.get("class_path"), str):
            self.problems.append(wrong_type(self.file, entry, node, "{class_path: …, init_args: {…}}"))
            return None
        if bad := [key for key in node if key not in ("class_path", "init_args", *extra)]:
            self.problems.append(unknown_key(self.file, entry, bad[0], ["class_path", "init_args", *extra]))
            return None
        cls = self._class(f"{entry}.class_path", node["class_path"], base)
        arguments = node.get("init_args") or {}
        if cls is None or not isinstance(arguments, dict):
            if cls is not None:
                self.problems.append(wrong_type(self.file, f"{entry}.init_args", arguments, "a mapping"))
            return None
        resolved = self.arguments(f"{entry}.init_args", cls, arguments, fill or {}, given)
        if resolved is None:
            return None
        rest = {key: node[key] for key in extra if key in node}
        return {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": resolved, **rest}

    def arguments(
        self, entry: str, cls: Any, arguments: dict[str, Any], fill: Mapping[str, Any], given: tuple[str, ...] = ()
    ) -> dict[str, Any] | None:
        """Every argument of a class, checked; None where something is wrong."""
        parameters = {n: p for n, p in inspect.signature(cls).parameters.items() if n not in given}
        open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        names = [n for n, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        bad = [key for key in arguments if key not in names and not open_ended]
        for key in bad:
            self.problems.append(unknown_key(self.file, entry, key, names, f"argument of {cls.__qualname__}:"))
        filled = {n: fill[n] for n in names if n in fill} | arguments
        for name in (n for n in names if n not in filled and parameters[n].default is inspect.Parameter.empty):
            self.add(f"{entry}.{name}", f"{cls.__qualname__} needs {name}, and neither the entry nor the data gives it")
            bad.append(name)
        return None if bad else self._typed(entry, cls, filled, given)

    def _typed(self, entry: str, cls: Any, arguments: dict[str, Any], given: tuple[str, ...]) -> dict[str, Any] | None:
        parser = jsonargparse.ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(cls, "args", skip=set(given), fail_untyped=False)
        try:
            parsed = parser.parse_object({"args": arguments}).as_dict().get("args") or {}
        except (jsonargparse.ArgumentError, TypeError, ValueError) as error:
            key, message = _explained(str(error), arguments)
            self.add(f"{entry}.{key}" if key else entry, message)
            return None
        for key in (key for key, value in arguments.items() if not _is_plain(value)):
            self.add(f"{entry}.{key}", f"expected plain data (texts, numbers, lists, mappings), got {arguments[key]!r}")
            return None
        # a default that is no plain data stays with the class; a given value that was parsed into an object, as given
        resolved = {key: value if _is_plain(value) else arguments.get(key, value) for key, value in parsed.items()}
        return {key: _listed(value) for key, value in resolved.items() if _is_plain(value)}

    def _class(self, entry: str, class_path: str, base: type) -> Any:
        try:
            cls = class_at(class_path)
        except Exception as error:  # importing runs the module, which may raise anything
            known, command = _known(class_path, base)
            module = class_path.rpartition(".")[0]
            absent = (
                isinstance(error, AttributeError)
                or not module
                or (isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."))
            )
            reason = "" if absent else f": importing {module} raises {type(error).__name__}: {error}"
            self.add(entry, f"no class {class_path!r}{reason}", close_matches(class_path, known), command)
            return None
        if not (inspect.isclass(cls) and issubclass(cls, base)):
            self.add(entry, f"{class_path} is no {base.__name__}")
            return None
        return cls

    def done(self) -> None:
        """Raises BadInput if any problem was found."""
        if self.problems:
            raise BadInput(self.problems)


def _known(class_path: str, base: type) -> tuple[list[str], str]:
    """The names that may have been meant, and the command that lists them."""
    import datamodules
    import zoo
    from zoo import _registry

    if class_path.startswith("datamodules"):
        names = [f"datamodules.{n}" for n in datamodules.__all__]
        return names, 'python -c "import datamodules; print(dir(datamodules))"'
    if base.__name__ == "Callback" and (class_path.startswith("zoo") or "." not in class_path):
        found = [entry for entry in _registry.entries().values() if not entry.is_model]
        families = sorted({f"zoo.{entry.family}" for entry in found})
        listed = ", ".join(f"dir({family})" for family in families)
        return [f"zoo.{entry.name}" for entry in found], f'python -c "import {", ".join(families)}; print({listed})"'
    if class_path.startswith("zoo") or "." not in class_path:
        return [f"zoo.{n}" for n in zoo.list_models()], 'python -c "import zoo; print(zoo.list_models())"'
    return [], ""


def _explained(message: str, arguments: dict[str, Any]) -> tuple[str, str]:
    """The key that a parser's message is about, and the message in our words."""
    key = match[1] if (match := re.search(r'"args\.([\w.]+)"', message)) else ""
    expected = match[1] if (match := re.search(r"[Ee]xpected a (.*?)(?:\. Got|$)", message, re.S)) else ""
    value = arguments.get(key.partition(".")[0])
    if expected:
        kind = re.sub(r"<class '([\w.]+)'>", r"\1", expected.partition("\n")[0]).strip()
        return key, f"expected {kind}, got {value!r} ({type(value).__name__})"
    return key, " ".join(message.split())


def _is_plain(value: Any) -> bool:
    """Whether a value can be hashed and written as YAML without losing anything."""
    if isinstance(value, dict):
        return all(isinstance(key, bool | int | float | str) and _is_plain(v) for key, v in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _listed(value: Any) -> Any:
    """Plain data with its tuples as lists."""
    if isinstance(value, dict):
        return {key: _listed(v) for key, v in value.items()}
    return [_listed(v) for v in value] if isinstance(value, list | tuple) else value

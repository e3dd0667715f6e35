"""Benchmark: one YAML document, checked in its outer form without importing any model."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.claims import Claim, read_claims
from benchmarks.documents import shown
from benchmarks.problems import BadInput, Problem, unknown_key, wrong_type

PER_LABEL = ("data", "optimizer", "lr_scheduler", "callbacks", "trainer", "select", "sweep", "fit")
NAMED = {"class_path": str, "init_args": dict}
TOP: dict[str, tuple[type, ...]] = {
    "title": (str,),
    "paper": (dict,),
    "data": (dict,),
    "models": (dict,),
    "optimizer": (dict,),
    "lr_scheduler": (dict,),
    "callbacks": (list,),
    "trainer": (dict,),
    "select": (dict,),
    "sweep": (dict,),
    "fit": (bool,),
    "seeds": (int, list),
    "deterministic": (bool,),
    "bf16": (bool,),
    "threads": (int,),
    "time_limit": (int, float),
    "needs": (list,),
    "summary": (str,),
    "figure": (str,),
    "claims": (list,),
}
SWEPT = ("model", "data", "optimizer", "lr_scheduler", "callbacks", "trainer")
HARMLESS = ("title", "seeds", "threads", "time_limit", "figure")  # a claim is about the same thing without them
REQUIRED = ("title", "data", "models")
NOUNS = {
    dict: "a mapping",
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
}


@dataclass(frozen=True)
class Benchmark:
    """A title, data, labelled models, seeds and claims; `models` maps a label to its complete settings."""

    name: str
    file: str
    title: str
    models: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...]
    claims: tuple[Claim, ...]
    paper: Mapping[str, Any] = field(default_factory=dict)
    deterministic: bool = False
    bf16: bool = False
    threads: int | None = None
    time_limit: float | None = None
    needs: tuple[str, ...] = ()
    summary: str | None = None
    figure: str | None = None
    changed: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        return self.name.partition("/")[0]


def read_benchmark(name: str, path: Path, document: dict[str, Any], settings: Mapping[str, Any]) -> Benchmark:
    """The benchmark of a document after `--set` settings (dotted key → value).

    Raises BadInput with everything that is wrong in its outer form.
    """
    file = shown(path)
    problems: list[Problem] = []
    for key, value in settings.items():
        for place in _places(document, key):
            _set(document, place, value, problems)
    _check_form(file, document, problems)
    _check_swept(document, settings, problems)
    if problems:
        raise BadInput(problems)
    shared = {key: document[key] for key in PER_LABEL if key in document}
    models = {label: _settings(shared, model) for label, model in document["models"].items()}
    for label, entries in models.items():
        _check_swept_callbacks(file, label, entries, problems)
    seeds = _seeds(file, document.get("seeds", 1), document.get("deterministic", False), problems)
    claims = read_claims(file, document.get("claims", []), models, problems)
    if problems:
        raise BadInput(problems)
    rest = ("title", "paper", "deterministic", "bf16", "threads", "time_limit", "summary", "figure")
    return Benchmark(
        name=name,
        file=file,
        models=models,
        seeds=seeds,
        claims=claims,
        needs=tuple(document.get("needs", ())),
        changed=tuple(f"{key}={value}" for key, value in settings.items() if key not in HARMLESS),
        **{key: document[key] for key in rest if key in document},
    )


def _settings(shared: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    """A label's settings: the benchmark's, with the label's own in their place (trainer key by key)."""
    own = {key: model[key] for key in PER_LABEL if key in model}
    merged = {**shared, **own}
    if "trainer" in shared and "trainer" in own:
        merged["trainer"] = {**shared["trainer"], **own["trainer"]}
    named = {key: model[key] for key in NAMED if model.get(key) is not None}
    return {"model": named, "sweep": {}, "fit": True, "trainer": {}, **merged}


def _places(document: dict[str, Any], key: str) -> list[str]:
    """Where a setting goes: also to the labels that have an entry of their own in place of the benchmark's."""
    first, models = key.partition(".")[0], document.get("models")
    labels = models if first in PER_LABEL and isinstance(models, dict) else {}
    own_entries = [f"models.{n}.{key}" for n, own in labels.items() if isinstance(own, dict) and first in own]
    inside_list = TOP.get(first) == (list,) and "." in key  # an entry of a list: only where there is one
    return own_entries if inside_list and own_entries and first not in document else [key, *own_entries]


def _set(document: dict[str, Any], key: str, value: Any, problems: list[Problem]) -> None:
    place, where = f"--set {key}", "command line"
    first, *rest = key.split(".")
    if first not in TOP:
        known = sorted(TOP)
        problem = unknown_key(where, "", first, known)
        problems.append(Problem(where, place, problem.message, problem.close))
        return
    if first == "models" and (not rest or rest[0] not in document.get("models", {})):
        labels = list(document.get("models", {}))
        problem = unknown_key(where, "", rest[0] if rest else "", labels, "model label")
        problems.append(Problem(where, place, problem.message, problem.close))
        return
    node: Any = document
    for part in [first, *rest][:-1]:
        inner = _entry(node, part)
        if not isinstance(inner, dict | list):
            problems.append(Problem(where, place, f"{part!r} is {inner!r}, not a mapping: it has no key {rest[-1]!r}"))
            return
        node = inner
    if isinstance(node, list):
        message = f"a list's entries are set by their keys, as in {first}.0.init_args.density"
        problems.append(Problem(where, place, message))
        return
    node[[first, *rest][-1]] = value


def _entry(node: Any, part: str) -> Any:
    """What a key of a mapping or a number of a list's entries, from 0, leads to; a mapping where there was none."""
    if not isinstance(node, list):
        return node.setdefault(part, {})
    return node[int(part)] if part.isdecimal() and int(part) < len(node) else None


def _check_swept(document: dict[str, Any], settings: Mapping[str, Any], problems: list[Problem]) -> None:
    """A setting that a sweep would take the place of is refused: it would change nothing."""
    models = {label: own for label, own in document.get("models", {}).items() if isinstance(own, dict)}
    for key, value in settings.items():
        for label, own in models.items():
            sweep = own.get("sweep", document.get("sweep", {}))
            inner = key.replace(f"models.{label}.", "", 1) if key.startswith(f"models.{label}.") else key
            swept = {inner, f"model.{inner}"} & set(sweep if isinstance(sweep, dict) else ())
            if swept:
                where = f"models.{label}.sweep" if "sweep" in own else "sweep"
                message = f"{label} is swept over it: give --set '{where}={{{min(swept)}: [{value}]}}'"
                problems.append(Problem("command line", f"--set {key}", message))


def _check_form(file: str, document: dict[str, Any], problems: list[Problem]) -> None:
    problems += [Problem(file, key, f"missing: every benchmark has {key!r}") for key in REQUIRED if key not in document]
    for key, value in document.items():
        if key not in TOP:
            problems.append(unknown_key(file, "", str(key), list(TOP)))
        elif not isinstance(value, TOP[key]) or (isinstance(value, bool) and bool not in TOP[key]):
            problems.append(wrong_type(file, key, value, " or ".join(NOUNS[t] for t in TOP[key])))
    for number, need in enumerate(needs if isinstance(needs := document.get("needs", []), list) else []):
        if need not in known_needs():
            problems.append(
                Problem(file, f"needs[{number}]", f"expected one of {', '.join(known_needs())}, got {need!r}")
            )
    _check_sweep(file, "sweep", document.get("sweep", {}), problems)
    models = document.get("models")
    if isinstance(models, dict):
        if not models:
            problems.append(Problem(file, "models", "expected at least one model, got none"))
        for label, model in models.items():
            _check_label(file, label, model, problems)
    _check_select(file, "select", document.get("select"), problems)
    for key in ("threads", "time_limit"):
        if isinstance(value := document.get(key, 1), int | float) and value <= 0:
            problems.append(Problem(file, key, f"expected more than 0, got {value}"))


def _check_label(file: str, label: Any, model: Any, problems: list[Problem]) -> None:
    entry = f"models.{label}"
    if not isinstance(model, dict):
        problems.append(wrong_type(file, entry, model, "a mapping with class_path and init_args"))
        return
    if not isinstance(label, str) or not label.replace("_", "").replace("-", "").replace(".", "").isalnum():
        problems.append(Problem(file, entry, "a label names a folder: letters, digits, '_', '-' and '.' only"))
    for key, value in model.items():
        if key not in (*NAMED, *PER_LABEL):
            problems.append(unknown_key(file, entry, key, [*NAMED, *PER_LABEL]))
        elif key in PER_LABEL and not isinstance(value, TOP[key]):
            problems.append(wrong_type(file, f"{entry}.{key}", value, NOUNS[TOP[key][0]]))
    if not isinstance(model.get("init_args") or {}, dict):
        problems.append(wrong_type(file, f"{entry}.init_args", model["init_args"], "a mapping"))
    _check_select(file, f"{entry}.select", model.get("select"), problems)
    _check_sweep(file, f"{entry}.sweep", model.get("sweep", {}), problems)


def known_needs() -> list[str]:
    """What a benchmark may need: a device, a download, an extra of the package."""
    try:
        extras = importlib.metadata.metadata("paperzoo").get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        extras = []
    return ["gpu", "download", *(extra for extra in extras if extra != "dev")]


def _check_sweep(file: str, entry: str, sweep: Any, problems: list[Problem]) -> None:
    for key, values in sweep.items() if isinstance(sweep, dict) else ():
        if str(key).partition(".")[0] not in SWEPT:
            problems.append(Problem(file, entry, f"expected a key like model.init_args.depth, got {key!r}"))
        if not isinstance(values, list) or not values:
            problems.append(Problem(file, f"{entry}.{key}", f"expected a list of values, got {values!r}"))


def _check_swept_callbacks(file: str, label: str, settings: Mapping[str, Any], problems: list[Problem]) -> None:
    """A key of a sweep counts the label's callbacks from 0, as callbacks.0.init_args.density does."""
    count = len(settings.get("callbacks", ()))
    for key in (key for key in settings["sweep"] if str(key).partition(".")[0] == "callbacks"):
        _, number, *rest = [*str(key).split("."), ""]
        if not (number.isdecimal() and rest[0] == "init_args" and int(number) < count):
            known = f"callbacks.N.init_args.NAME, N below {count}" if count else "no such key, as it has no callbacks"
            problems.append(Problem(file, f"models.{label}.sweep", f"{label} is swept over {key!r}: expected {known}"))


def _check_select(file: str, entry: str, select: Any, problems: list[Problem]) -> None:
    if select is None or not isinstance(select, dict):
        return
    problems += [unknown_key(file, entry, key, ["monitor", "mode"]) for key in select if key not in ("monitor", "mode")]
    monitor, mode = select.get("monitor"), select.get("mode", "min")
    if not isinstance(monitor, str) or not monitor.startswith(("train/", "val/")):
        message = f"expected train/NAME or val/NAME (weights are never chosen on test data), got {monitor!r}"
        problems.append(Problem(file, f"{entry}.monitor", message))
    if mode not in ("min", "max"):
        problems.append(Problem(file, f"{entry}.mode", f"expected min or max, got {mode!r}"))


def _seeds(file: str, seeds: Any, deterministic: bool, problems: list[Problem]) -> tuple[int, ...]:
    chosen = list(range(seeds)) if isinstance(seeds, int) else seeds
    whole: Callable[[Any], bool] = lambda s: isinstance(s, int) and not isinstance(s, bool) and s >= 0  # noqa: E731
    if not chosen or not all(map(whole, chosen)) or len(set(chosen)) < len(chosen):
        message = f"expected a count of at least 1 or a list of different whole numbers, got {seeds!r}"
        problems.append(Problem(file, "seeds", message))
        return ()
    return tuple(chosen[:1] if deterministic else chosen)

"""Where Results to compare come from: results folders and the shipped reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import documents, reference, store
from benchmarks.problems import BadInput, Problem
from benchmarks.schema import read_benchmark
from benchmarks.store import Result

REFERENCE = "reference"
RESULTS = Path("results")


@dataclass(frozen=True)
class Record:
    """A Result with the settings that it was made under (flat, seeds apart) and where its time was measured.

    Settings are unknown (none) without a config.yaml; the reference knows those only that the YAML states.
    """

    result: Result
    settings: Mapping[str, Any] | None
    place: str
    shipped: bool = False


@dataclass
class Source:
    """A results folder, or the reference: its Results, its verdicts by benchmark, and what could not be read."""

    name: str
    records: list[Record] = field(default_factory=list)
    verdicts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def gather(folders: Sequence[Path], with_reference: bool) -> list[Source]:
    """The sources in the order given, the reference last; without folders, `results` if there is one.

    Raises BadInput for a folder that is missing or holds no Results, and where nothing is left.
    """
    chosen = list(dict.fromkeys(folder.resolve() for folder in folders))
    problems = [Problem("command line", str(f), "no such folder: give one that --results of a run named")
                for f in folders if not f.is_dir()]  # fmt: skip
    if problems:
        raise BadInput(problems)
    if not folders and RESULTS.is_dir():
        chosen = [RESULTS.resolve()]
    names = [folder.name for folder in chosen]
    found = [_folder(f, f.name if names.count(f.name) == 1 else documents.shown(f)) for f in chosen]
    for folder, source in zip(chosen, found, strict=True):
        if folders and not source.records:
            message = "; ".join(["no Result in this folder: give one that --results of a run named", *source.notes])
            problems.append(Problem("command line", documents.shown(folder), message))
    found += [_reference()] if with_reference else []
    if not problems and not any(source.records for source in found):
        message = f"nothing to compare: no Results in {RESULTS}; name a folder of Results, or leave --no-reference out"
        problems.append(Problem("command line", "RESULTS", message))
    if problems:
        raise BadInput(problems)
    return found


def _folder(root: Path, name: str) -> Source:
    source = Source(name)
    for path in sorted(root.rglob(store.FILE)):
        try:
            result = store.read(path.parent)
            if result is not None and not isinstance(result.metrics, dict):
                raise TypeError("its metrics are no mapping")
        except ValueError as error:
            source.notes.append(str(error))
            continue
        except (TypeError, AttributeError) as error:  # JSON, but of another form
            source.notes.append(f"{path} is damaged ({error}): remove it, and the Run is made again")
            continue
        if result is not None:
            source.records.append(Record(result, _settings(path.parent), f"{result.device}, threads {result.threads}"))
    for folder in sorted({Path(record.result.folder).parent.parent for record in source.records}):
        try:
            for row in store.verdicts(folder):
                source.verdicts.setdefault(row["benchmark"], []).append(row)
        except ValueError as error:
            source.notes.append(str(error))
    return source


def _settings(folder: Path) -> dict[str, Any] | None:
    try:
        return dict(_flat(documents.read(folder / "config.yaml")))
    except BadInput:
        return None


def _reference() -> Source:
    source = Source(REFERENCE)
    known = {f.name for f in dataclasses.fields(Result)}
    families = [path.stem for path in sorted(reference.FOLDER.glob("*.json"))]
    for name, part in (item for family in families for item in reference.read(family).items()):
        for row in part["runs"]:
            machine = part["machine"]
            place = f"{', '.join(machine['device'])}, {machine['cores']} cores on {part['date']}"
            result = Result(**{key: value for key, value in row.items() if key in known})
            source.records.append(Record(result, stated(name).get(result.model), place, True))
        source.verdicts[name] = list(part["claims"])
    return source


@cache
def stated(benchmark: str) -> dict[str, dict[str, Any]]:
    """The settings that a shipped benchmark's YAML states, by label in its order; empty for another benchmark."""
    path = documents.benchmark_files().get(benchmark)
    if path is None:
        return {}
    models = read_benchmark(benchmark, path, documents.read(path), {}).models
    return {n: dict(_flat({k: v for k, v in own.items() if k != "sweep"})) for n, own in models.items()}


def _flat(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; the data's seed and the ids of Runs that were taken from go with the seed."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _flat(value, f"{place}.{key}" if place else str(key))
    elif isinstance(node, list) and any(isinstance(value, Mapping) for value in node):
        for position, value in enumerate(node):
            yield from _flat(value, f"{place}[{position}]")
    elif place != "data.init_args.seed" and not place.endswith(".from") and node not in ([], {}, None):
        yield place, node

"""Rows to compare: the Results of one model, sweep point and settings, and their differences paired by seed."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import documents
from benchmarks.sources import Record, Source, stated
from benchmarks.store import Result
from benchmarks.verdicts import average, t_interval


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % t-interval, which takes two."""

    mean: float | None
    interval: tuple[float, float] | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        return cls(average(values) if values else None, t_interval(values), len(values))

    @property
    def differs(self) -> bool:
        """Whether the interval of a difference excludes none."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


@dataclass
class Row:
    """One model at one sweep point under one set of settings, from one source; `changed` are the keys that differ."""

    source: str
    benchmark: str
    model: str
    point: Mapping[str, Any]
    records: list[Record]
    older: int = 0
    changed: dict[str, Any] = field(default_factory=dict)
    verdicts: Counter[str] = field(default_factory=Counter)

    @property
    def settings(self) -> str:
        return ", ".join(f"{_short(key)}={value}" for key, value in self.changed.items())

    @property
    def at(self) -> str:
        return ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in self.point.items())

    @property
    def name(self) -> str:
        return " ".join(filter(None, (self.model, self.at, self.settings and f"({self.settings})")))

    @property
    def finished(self) -> list[Result]:
        return [record.result for record in self.records if record.result.status == "finished"]

    @property
    def metrics(self) -> list[str]:
        return list(dict.fromkeys(name for result in self.finished for name in result.metrics))

    @property
    def params(self) -> int | None:
        return self.finished[0].params if self.finished else None

    @property
    def fit(self) -> float | None:
        return average([result.fit_seconds for result in self.finished]) if self.finished else None

    def samples(self, metric: str) -> dict[int, float]:
        """The metric by seed, of the Runs that finished and have it."""
        return {result.seed: result.metrics[metric] for result in self.finished if metric in result.metrics}

    def estimate(self, metric: str) -> Estimate:
        return Estimate.of(list(self.samples(metric).values()))

    def minus(self, other: Row, metric: str) -> Estimate:
        """The mean difference over the seeds that both have."""
        ours, theirs = self.samples(metric), other.samples(metric)
        return Estimate.of([ours[seed] - theirs[seed] for seed in ours if seed in theirs])


def rows(sources: Iterable[Source]) -> dict[str, list[Row]]:
    """The rows of each benchmark: by source, then by model in the YAML's order, then by sweep point."""
    groups: dict[str, list[Row]] = {}
    for source in sources:
        for row in sorted(_grouped(source), key=_order):
            groups.setdefault(row.benchmark, []).append(row)
    for members in groups.values():
        for model in {row.model for row in members}:
            _mark_changes([row for row in members if row.model == model])
    return dict(sorted(groups.items()))


def _grouped(source: Source) -> list[Row]:
    found: dict[str, Row] = {}
    for record in source.records:
        result = record.result
        key = json.dumps([result.benchmark, result.model, result.point, record.settings], sort_keys=True, default=str)
        row = found.setdefault(key, Row(source.name, result.benchmark, result.model, result.point, []))
        row.records.append(record)
    for row in found.values():
        newest = {r.result.seed: r for r in sorted(row.records, key=lambda r: r.result.started)}
        row.older = len(row.records) - len(newest)
        row.records = [newest[seed] for seed in sorted(newest)]
        row.verdicts = _verdicts(row, source.verdicts.get(row.benchmark, ()))
    return list(found.values())


def _order(row: Row) -> tuple[Any, ...]:
    labels = list(stated(row.benchmark))
    place = labels.index(row.model) if row.model in labels else len(labels)
    values = [(0, v, "") if isinstance(v, int | float) else (1, 0, str(v)) for v in row.point.values()]
    first = min((record.result.started, record.result.id) for record in row.records)
    return (row.benchmark, place, row.model, values, first)


def _verdicts(row: Row, verdicts: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """The outcomes of the claims about a row's model: of each claim, the verdict that rests on most of its Runs."""
    ids = {record.result.id for record in row.records}
    chosen: dict[str, tuple[int, str]] = {}
    for verdict in verdicts:
        at = verdict.get("at") or {}
        if verdict["model"] != row.model or any(row.point.get(key, value) != value for key, value in at.items()):
            continue
        # reference results of earlier releases do not name the Runs: they are all there is
        common = len(ids & set(verdict["runs"])) if "runs" in verdict else len(ids)
        claim = json.dumps([verdict.get(key) for key in ("kind", "metric", "at", "stated", "statistic")])
        if common and common >= chosen.get(claim, (0, ""))[0]:
            chosen[claim] = common, verdict["verdict"]
    return Counter(outcome for _, outcome in chosen.values())


def _mark_changes(members: Sequence[Row]) -> None:
    """Notes on each row of a model the settings in which the rows differ, but those of the sweep.

    A row of the reference lends what its YAML states to the comparison, and is itself the model as it is shipped.
    """
    first = [(row, row.records[0]) for row in members]
    whole = [(row, record.settings) for row, record in first if record.settings is not None and not record.shipped]
    shipped = [record.settings for _, record in first if record.settings is not None and record.shipped]
    swept = tuple(f"{key}." for row in members for key in row.point)
    for key in sorted({key for settings in (*(s for _, s in whole), *shipped) for key in settings}):
        values = [settings.get(key) for _, settings in whole]
        stated = [settings[key] for settings in shipped if key in settings]
        same = all(value == values[0] for value in values) and all(_same(key, v, s) for v in values for s in stated)
        if not same and not f"{key}.".startswith(swept):
            for row, settings in whole:
                row.changed[key] = settings.get(key, "–")
    for row, record in first:
        if record.settings is None and not record.shipped and len(members) > 1:
            row.changed["settings"] = "unknown"


def _same(key: str, value: Any, stated: Any) -> bool:
    """Whether a setting is the stated one; a YAML may name a class by a shorter path."""
    if key.endswith("class_path"):
        return str(value).rpartition(".")[2] == str(stated).rpartition(".")[2]
    return bool(value == stated)


def _short(key: str) -> str:
    return key.replace(".init_args", "")


def finite(value: float | None) -> float | None:
    """A number that JSON has; none for the others."""
    return value if value is not None and math.isfinite(value) else None


@dataclass
class Comparison:
    """The rows of one benchmark, the metrics to show and the row that the others are compared with."""

    benchmark: str
    rows: list[Row]
    metrics: list[str]
    baseline: Row
    asked: str = ""

    @property
    def title(self) -> str:
        """The title of a shipped benchmark."""
        path = documents.benchmark_files().get(self.benchmark)
        return str(documents.read(path).get("title", "")) if path else ""

    @property
    def several(self) -> bool:
        """Whether the rows come from more than one source."""
        return len({row.source for row in self.rows}) > 1

    def named(self, row: Row) -> str:
        return f"{row.source}:{row.name}" if self.several else row.name

    @property
    def notes(self) -> list[str]:
        """What a reader of the table has to know: Runs left out or failed, and times that do not compare."""
        found = [f"no row {self.asked} here: compared with the first one"] if self.asked else []
        if older := {self.named(row): row.older for row in self.rows if row.older}:
            listed = ", ".join(f"{name}: {count}" for name, count in older.items())
            found.append(f"older Results of the same settings and seeds were left out ({listed})")
        for row in self.rows:
            for result in (r.result for r in row.records if r.result.status != "finished"):
                found.append(f"{self.named(row)} seed {result.seed} {result.status}: {_first_line(result.error)}")
        places = self._places()
        if len(places) > 1:
            listed = "; ".join(f"{', '.join(names)} on {place}" for place, names in places.items())
            found.append(f"fit times were not measured alike: {listed}")
        return found

    def _places(self) -> dict[str, list[str]]:
        """Where the times were measured: rows, or the source where all its rows were."""
        by_source: dict[str, set[str]] = {}
        for row in self.rows:
            by_source.setdefault(row.source, set()).update(record.place for record in row.records)
        places: dict[str, list[str]] = {}
        for row in self.rows:
            name = row.source if self.several and len(by_source[row.source]) == 1 else self.named(row)
            for place in dict.fromkeys(record.place for record in row.records):
                places[place] = list(dict.fromkeys([*places.get(place, []), name]))
        return places


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]

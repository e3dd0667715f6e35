"""Comparisons as tables for a terminal and Markdown, as one flat CSV table and as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.comparison import Comparison, Estimate, Row, finite
from benchmarks.tables import MARKS, MOST_COLUMNS, Table, duration, spread

MOST_ROWS = 4  # rows that stand beside each other where the metrics are many
NAME = 26  # characters that a row's name keeps where the terminal is narrow
NONE = Estimate(None, None, 0)
OUTCOMES = {outcome: outcome.replace(" ", "_") for outcome in MARKS}
#: One line of the flat table: a metric of a row.
COLUMNS = (
    *("source", "benchmark", "model", "settings", "point", "metric", "mean", "low", "high", "n", "params"),
    *("fit_seconds", *OUTCOMES.values(), "against", "difference", "difference_low", "difference_high", "pairs", "runs"),
)


@dataclass(frozen=True)
class Line:
    """The cells of a row: its name and source, the count of its seeds, its metrics and what follows them."""

    name: str
    source: str
    count: str
    values: Sequence[str]
    tail: Sequence[str] = ()


def tables_of(one: Comparison, width: int | None = None) -> list[Table]:
    """The rows with their metrics, then their differences to the baseline; laid out for a width, if one is given."""
    caption = f"{one.benchmark}: {one.title}" if one.title else one.benchmark
    lines = [
        Line(row.name, row.source, _seeds(row), [_value(row, m) for m in one.metrics], _tail(row)) for row in one.rows
    ]
    made = _laid_out(caption, one, ("seeds", "parameters", "fit", "claims"), lines, one.notes, width)
    others = [row for row in one.rows if row is not one.baseline]
    if others and one.metrics:
        lines = [Line(row.name, row.source, _pairs(row, one), _differences(row, one)) for row in others]
        marked = any(cell.endswith("*") for line in lines for cell in line.values)
        notes = ["* the 95 % interval excludes no difference"] if marked else []
        caption = f"Differences to {one.named(one.baseline)}, paired by seed"
        made += _laid_out(caption, one, ("pairs",), lines, notes, width)
    return made


def _laid_out(
    caption: str,
    one: Comparison,
    names: Sequence[str],
    lines: Sequence[Line],
    notes: Sequence[str],
    width: int | None,
) -> list[Table]:
    """Rows as lines; metrics that are many or too wide stand below each other or, for many rows, in several tables."""
    metrics = [metric.removeprefix("test/") for metric in one.metrics]
    table = _across(caption, one, names, metrics, lines)
    if len(metrics) <= MOST_COLUMNS and _fits(table, width):
        return [replace(table, notes=notes)]
    if len(lines) <= MOST_ROWS and metrics:
        return [replace(_down(caption, one, names, metrics, lines), notes=notes)]
    made = [table]
    for size in range(MOST_COLUMNS, 0, -1):
        made = []
        for start in range(0, max(len(metrics), 1), size):
            part, last = slice(start, start + size), start + size >= len(metrics)
            cut = [replace(line, values=line.values[part], tail=line.tail if last else ()) for line in lines]
            made.append(_across("" if start else caption, one, names if last else names[:1], metrics[part], cut))
        if all(_fits(table, width) for table in made):
            break
    return [*made[:-1], replace(made[-1], notes=notes)]


def _across(
    caption: str, one: Comparison, names: Sequence[str], metrics: Sequence[str], lines: Sequence[Line]
) -> Table:
    head = ["source"] if one.several else []
    columns = [*head, "model", names[0], *metrics, *names[1:]]
    rows = [[*([x.source] if one.several else []), x.name, x.count, *x.values, *x.tail] for x in lines]
    return Table(caption, columns, rows, len(head) + 1)


def _down(caption: str, one: Comparison, names: Sequence[str], metrics: Sequence[str], lines: Sequence[Line]) -> Table:
    first = ["", *(["source"] if one.several else []), names[0], *metrics, *names[1:]]
    columns = [[x.name, *([x.source] if one.several else []), x.count, *x.values, *x.tail] for x in lines]
    header, *rows = ([*cells] for cells in zip(first, *columns, strict=True))
    return Table(caption, header, rows)


def _fits(table: Table, width: int | None) -> bool:
    """Whether the columns, three characters apart, fit side by side; the names of rows may break into lines."""
    widest = [max(map(len, column)) for column in zip(table.columns, *table.rows, strict=True)]
    widest = [min(longest, NAME) if i < table.right else longest for i, longest in enumerate(widest)]
    return width is None or sum(longest + 3 for longest in widest) + 1 <= width


def _value(row: Row, metric: str) -> str:
    values = list(row.samples(metric).values())
    some = f" of {len(values)}" if 0 < len(values) < len(row.finished) else ""
    return f"{spread(values)}{some}" if values else "–"


def _seeds(row: Row) -> str:
    done, all_ = len(row.finished), len(row.records)
    return str(done) if done == all_ else f"{done} of {all_}"


def _tail(row: Row) -> list[str]:
    params = "–" if row.params is None else f"{row.params:,}"
    fit = "–" if row.fit is None else duration(row.fit)
    claims = " ".join(f"{row.verdicts[o]} {mark}" for o, (mark, _) in MARKS.items() if row.verdicts[o])
    return [params, fit, claims or "–"]


def _pairs(row: Row, one: Comparison) -> str:
    counts = sorted({row.minus(one.baseline, metric).n for metric in one.metrics})
    return "–".join(map(str, dict.fromkeys((counts[0], counts[-1]))))


def _differences(row: Row, one: Comparison) -> list[str]:
    return [_difference(row.minus(one.baseline, metric)) for metric in one.metrics]


def _difference(estimate: Estimate) -> str:
    """A difference with half its interval, marked where that excludes none."""
    if estimate.mean is None:
        return "no common seed"
    if estimate.interval is None:
        return f"{estimate.mean:+.4g} (one common seed)"
    half = (estimate.interval[1] - estimate.interval[0]) / 2
    return f"{estimate.mean:+.4g} ± {half:.2g}{' *' if estimate.differs else ''}"


def markdown(compared: Sequence[Comparison]) -> str:
    """A section a benchmark."""
    parts = []
    for one in compared:
        parts.append(f"## {one.benchmark}" + (f"\n\n{one.title}" if one.title else ""))
        for position, table in enumerate(tables_of(one)):
            parts += [f"**{table.caption}**"] if table.caption and position else []
            parts.append(table.markdown())
    return "\n\n".join(parts) + "\n"


def records(one: Comparison) -> list[dict[str, Any]]:
    """A flat record for every row and metric; a row without any Result that finished has one, without a metric."""
    found = []
    for row in one.rows:
        for metric in [m for m in one.metrics if row.samples(m)] or [""]:
            against = row is not one.baseline
            estimate, difference = row.estimate(metric), row.minus(one.baseline, metric) if against else NONE
            low, high = estimate.interval or (None, None)
            lower, upper = difference.interval or (None, None)
            head = [row.source, row.benchmark, row.model, row.settings, row.at, metric, estimate.mean, low, high]
            other = (one.named(one.baseline), difference.n) if against else ("", "")
            tail = [other[0], difference.mean, lower, upper, other[1], len(row.records)]
            outcomes = [row.verdicts[outcome] for outcome in OUTCOMES]
            line = [*head, estimate.n, row.params, row.fit, *outcomes, *tail]
            found.append(dict(zip(COLUMNS, line, strict=True)))
    return found


def flat(compared: Sequence[Comparison]) -> str:
    """One CSV table of all benchmarks."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(record for one in compared for record in records(one))
    return text.getvalue()


def document(compared: Sequence[Comparison]) -> str:
    """JSON: a list of benchmarks, each with its rows; numbers that JSON lacks are null."""
    return json.dumps([_described(one) for one in compared], indent=1) + "\n"


def _described(one: Comparison) -> dict[str, Any]:
    lines = []
    for row in one.rows:
        metrics = {metric: _numbers(row.estimate(metric)) for metric in one.metrics if row.samples(metric)}
        differences = {metric: _numbers(row.minus(one.baseline, metric)) for metric in metrics}
        lines.append(
            {
                "source": row.source,
                "model": row.model,
                "point": dict(row.point),
                "settings": row.changed,
                "seeds": [record.result.seed for record in row.records],
                "finished": [result.seed for result in row.finished],
                "metrics": metrics,
                "params": row.params,
                "fit_seconds": finite(row.fit),
                "claims": {name: row.verdicts[outcome] for outcome, name in OUTCOMES.items()},
                "differences": {} if row is one.baseline else differences,
            }
        )
    about = {"benchmark": one.benchmark, "title": one.title, "against": one.named(one.baseline)}
    return {**about, "rows": lines, "notes": one.notes}


def _numbers(estimate: Estimate) -> dict[str, Any]:
    low, high = estimate.interval or (None, None)
    return {"mean": finite(estimate.mean), "low": finite(low), "high": finite(high), "n": estimate.n}

"""Tables of Results and of claims, from their records alone; rendered for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich import box
from rich.console import Group, JustifyMethod
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from benchmarks.verdicts import average, t_interval

Records = Sequence[Mapping[str, Any]]
MARKS = {"reproduced": ("✔", "green"), "not reproduced": ("✘", "red"), "not run": ("–", "yellow")}


@dataclass(frozen=True)
class Table:
    """A caption, column names, rows of text and notes below; columns from `right` on are numbers."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: int = 1
    notes: Sequence[str] = ()

    def rich(self) -> Group:
        table = RichTable(box=box.SIMPLE_HEAD)
        for position, column in enumerate(self.columns):
            side: JustifyMethod = "right" if position >= self.right else "left"
            table.add_column(escape(column), justify=side, overflow="fold", no_wrap=position == 0)
        for row in self.rows:
            table.add_row(*(_coloured(cell) for cell in row))
        return Group(
            Text(self.caption, style="bold"), table, *(Padding(Text(note), (0, 0, 1, 2)) for note in self.notes)
        )

    def within(self, width: int) -> list[Table]:
        """The table, or, where it is wider, several with some of the numbers each, that a terminal has room for."""
        room = [3 + max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        parts: list[list[int]] = [[]]
        for position in range(self.right, len(room)):
            if parts[-1] and 1 + sum(room[: self.right]) + sum(room[i] for i in [*parts[-1], position]) > width:
                parts.append([])
            parts[-1].append(position)
        if len(parts) == 1:
            return [self]
        chosen = [[*range(self.right), *part] for part in parts]
        cut = [
            Table("", [self.columns[i] for i in c], [[r[i] for i in c] for r in self.rows], self.right) for c in chosen
        ]
        return [replace(cut[0], caption=self.caption), *cut[1:-1], replace(cut[-1], notes=self.notes)]

    def markdown(self) -> str:
        bars = ["---:" if i >= self.right else "---" for i in range(len(self.columns))]
        lines = [self.columns, bars, *([cell.replace("|", "\\|") for cell in row] for row in self.rows)]
        return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), *(f"\n{note}" for note in self.notes)])


def _coloured(cell: str) -> str:
    for mark, colour in MARKS.values():
        if cell.startswith(f"{mark} "):
            return f"[{colour}]{escape(cell)}[/]"
    return escape(cell)


def number(value: float | None) -> str:
    """A number to four significant digits."""
    return "–" if value is None else f"{value:.4g}"


def spread(values: Sequence[float]) -> str:
    """Mean ± half the 95 % interval over seeds, both with the digits that the interval carries."""
    interval = t_interval(values)
    mean = average(values)
    half = (interval[1] - interval[0]) / 2 if interval else 0.0
    return f"{mean:.4g} ± {half:.2g}" if half else number(mean)


def duration(seconds: float) -> str:
    """Seconds as a person reads them."""
    return (
        f"{seconds:.1f} s"
        if seconds < 100
        else f"{seconds / 60:.1f} min"
        if seconds < 6000
        else f"{seconds / 3600:.1f} h"
    )


MOST_COLUMNS = 3  # metrics beside each other; more of them are listed below each other


def results_table(caption: str, rows: Records) -> Table:
    """Every model and sweep point: seeds, test metrics as mean ± 95 % interval, parameters, time a seed.

    Models are rows and metrics are columns; where the metrics are many, the other way round.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(" ".join(filter(None, (row["model"], pointed(row["point"])))), []).append(row)
    metrics = list(dict.fromkeys(name for row in rows for name in row["metrics"] if name.startswith("test/")))
    lines = [[name, *_cells(members, metrics)] for name, members in groups.items()]
    columns = ["model", "seeds", *(name.removeprefix("test/") for name in metrics), "parameters", "fit"]
    if len(metrics) > MOST_COLUMNS >= len(lines):
        columns, *lines = ([*column] for column in zip(columns, *lines, strict=True))
        columns[0] = ""
    return Table(caption, columns, lines)


def pointed(point: Mapping[str, Any]) -> str:
    """A sweep point as a reader calls it: the last part of each key with its value."""
    return ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in point.items())


def _cells(members: Records, metrics: Sequence[str]) -> list[str]:
    done = [member for member in members if member["status"] == "finished"]
    count = str(len(done)) if len(done) == len(members) else f"{len(done)} of {len(members)}"
    cells = [spread([m["metrics"][name] for m in done]) if _all_have(done, name) else "–" for name in metrics]
    tail = [f"{done[0]['params']:,}", duration(average([m["fit_seconds"] for m in done]))] if done else ["–", "–"]
    return [count, *cells, *tail]


def _all_have(rows: Records, name: str) -> bool:
    return bool(rows) and all(name in row["metrics"] for row in rows)


def claims_table(caption: str, verdicts: Records, reference: Records = ()) -> Table:
    """A line a claim: what is stated, on which evidence, what was measured, and the verdict."""
    known = {_key(row): row for row in reference}
    reasons = list(dict.fromkeys(row["reason"] for row in verdicts if row["reason"]))
    columns = ["claim", "stated", "evidence", "measured", *(["reference run"] if reference else []), "verdict"]
    lines = []
    for row in verdicts:
        at = "".join(f", {pointed({key: value})}" for key, value in row.get("at", {}).items())
        before = [measured(known[_key(row)]) if _key(row) in known else "–"] if reference else []
        note = f" ({reasons.index(row['reason']) + 1})" if row["reason"] else ""
        verdict = f"{MARKS[row['verdict']][0]} {row['verdict']}{note}"
        claim = f"{row['model']}{at}: {row['metric'].removeprefix('test/')}"
        lines.append([claim, row["stated"], row["evidence"], measured(row), *before, verdict])
    notes = [f"({number}) {reason}" for number, reason in enumerate(reasons, 1)]
    return Table(caption, columns, lines, len(columns), notes)


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    pair = (str(row.get("than")), row.get("by", "difference"))
    return (row["benchmark"], row["kind"], row["model"], row["metric"], row["stated"], str(row.get("at", {})), *pair)


def measured(row: Mapping[str, Any]) -> str:
    """A verdict's statistic with its interval."""
    if row["mean"] is None:
        return "–"
    interval = row["interval"]
    low_high = f" [{number(interval[0])}, {number(interval[1])}]" if interval else ""
    return f"{number(row['mean'])}{low_high}"


def failures_table(rows: Records) -> Table | None:
    """The Runs that failed or could not run, with the reason; none where there are none."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for row in (r for r in rows if r["status"] != "finished"):
        lines.setdefault((row["benchmark"], row["model"], row["status"], row["error"]), []).append(str(row["seed"]))
    if not lines:
        return None
    listed = [[f"{b}/{m}", ", ".join(seeds), s, e] for (b, m, s, e), seeds in lines.items()]
    return Table("Runs without a result", ["model", "seed", "status", "reason"], listed, right=4)

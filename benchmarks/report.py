"""From Results to verdicts, tables, figures and files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.markup import escape

from benchmarks import reference, tables
from benchmarks.build import class_at
from benchmarks.documents import shown
from benchmarks.plan import Plan
from benchmarks.schema import Benchmark
from benchmarks.store import Result, keep_verdicts, write_whole
from benchmarks.verdicts import judge


@dataclass
class Report:
    """The records of an invocation: rows of Runs, rows of claims, files of figures."""

    plan: Plan
    rows: list[dict[str, Any]] = field(default_factory=list)
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def of(self, benchmark: Benchmark) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["benchmark"] == benchmark.name]

    def tried(self, path: str | None, results: Sequence[Result]) -> Any:
        """What a benchmark's own function makes of its Results; if it fails, a note says so and all else goes on."""
        if not path or not results:
            return None
        try:
            return class_at(path)(results)
        except Exception as error:  # the function is a benchmark's: it must not cost the report
            self.notes.append(f"{path} failed: {type(error).__name__}: {error}")
            return None

    def tables(self, benchmark: Benchmark) -> list[tables.Table]:
        """The results and the claims of a benchmark, beside those of the reference run."""
        verdicts = [row for row in self.verdicts if row["benchmark"] == benchmark.name]
        known = reference.of(benchmark.name).get("claims", [])
        found = [tables.results_table(f"{benchmark.name}: {benchmark.title}", self.of(benchmark))]
        return found + ([tables.claims_table("Claims", verdicts, known)] if verdicts else [])

    @contextmanager
    def noting(self) -> Iterator[None]:
        """What cannot be written, on a full disk or beside a damaged file, is a note: the report itself goes on."""
        try:
            yield
        except (OSError, ValueError) as error:
            self.notes.append(str(error))

    def keep(self, benchmark: Benchmark, root: Path) -> None:
        """Adds the verdicts to those of earlier invocations."""
        with self.noting():
            keep_verdicts([row for row in self.verdicts if row["benchmark"] == benchmark.name], root / benchmark.name)

    def print(self, console: Console) -> None:
        """The report on a terminal."""
        for benchmark in self.plan.benchmarks:
            parts = [part for table in self.tables(benchmark) for part in table.within(console.width)]
            console.print(Group(*(part.rich() for part in parts)))
            if benchmark.name in self.figures:
                console.print(f"  figure: {escape(shown(self.figures[benchmark.name]))}\n", soft_wrap=True)
        if failures := tables.failures_table(self.rows):
            console.print(failures.rich())
        for note in self.notes:
            console.print(note, style="yellow", markup=False)
        console.print(self.summary, highlight=False)

    @property
    def summary(self) -> str:
        """One line: Runs and claims by their outcome."""
        status = [("cached" if row.get("cached") else row["status"]) for row in self.rows]
        runs = ", ".join(f"{status.count(s)} {s}" for s in dict.fromkeys(status))
        outcome = [row["verdict"] for row in self.verdicts]
        claims = ", ".join(f"{outcome.count(v)} {v}" for v in tables.MARKS if v in outcome)
        return f"Runs: {runs or 'none'}. Claims: {claims or 'none'}."

    def markdown(self) -> str:
        """The report as Markdown, figures linked."""
        parts = []
        for benchmark in self.plan.benchmarks:
            parts.append(f"## {benchmark.name}\n\n{benchmark.title}")
            parts += [table.markdown() for table in self.tables(benchmark)]
            if benchmark.name in self.figures:
                parts.append(f"![{benchmark.title}]({benchmark.name}/{self.figures[benchmark.name].name})")
        if failures := tables.failures_table(self.rows):
            parts += ["## Runs without a result", failures.markdown()]
        return "\n\n".join([*parts, *self.notes, self.summary]) + "\n"


def make(plan: Plan, results: Sequence[Result], root: Path | None, device: str = "") -> Report:
    """Judges the claims, draws the figures and writes report.md below the results folder (if there is one).

    The verdicts are kept there as well, each with the Runs that it rests on.
    Where the present device is named, Results that were cached from another one are marked by a note.
    """
    report = Report(plan, [result.row | {"metrics": result.metrics} for result in [*results, *plan.absent]])
    elsewhere = [result.device for result in results if device and result.cached and result.device != device]
    if elsewhere:
        report.notes.append(f"{len(elsewhere)} Runs were made on another device: {', '.join(sorted(set(elsewhere)))}")
    for benchmark in plan.benchmarks:
        own = [result for result in results if result.benchmark == benchmark.name]
        finished = [result for result in own if result.status == "finished"]
        extra = report.tried(benchmark.summary, finished) or []
        rows = report.of(benchmark)
        for claim in benchmark.claims:
            verdict = judge(claim, rows, extra, deterministic=benchmark.deterministic, changed=benchmark.changed)
            report.verdicts.append(verdict.row(benchmark.name))
        if root:
            report.keep(benchmark, root)
        if root and (figure := report.tried(benchmark.figure, finished)):
            path = root / benchmark.name / "figure.png"
            with report.noting():
                path.parent.mkdir(parents=True, exist_ok=True)
                figure.savefig(path, dpi=120)
                report.figures[benchmark.name] = path
    if root:
        with report.noting():
            write_whole(root / "report.md", report.markdown())
    return report

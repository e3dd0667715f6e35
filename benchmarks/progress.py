"""What is going on: one live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from benchmarks.plan import Run
from benchmarks.store import Result
from benchmarks.tables import duration, pointed


@dataclass
class Running:
    """A Run or a stack of Runs at work: since when, and how many of its steps are done."""

    runs: Sequence[Run]
    since: float = field(default_factory=time.monotonic)
    step: float = 0
    steps: float = 0

    @property
    def folders(self) -> set[Path]:
        return {run.folder for run in self.runs}

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.since

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """Name, share done, rate, time left."""
        name = named(self.runs[0]) + (f" and {more} stacked" if (more := len(self.runs) - 1) else "")
        if not self.step or not self.steps:
            return name, "starting", "", ""
        rate = self.step / self.elapsed
        return name, f"{self.step / self.steps:.0%}", f"{rate:,.0f} steps/s", duration((self.steps - self.step) / rate)


class View:
    """Counts the Runs by state and shows each change; on a terminal it redraws in place."""

    def __init__(self, console: Console, total: int) -> None:
        self.console = console
        self.counts = {"queued": total, "running": 0, "cached": 0, "finished": 0, "failed": 0, "not run": 0}
        self.running: dict[Any, Running] = {}
        self.begun: set[Any] = set()
        self.notes: list[str] = []  # what was said once and is not to be said again

    @contextmanager
    def shown(self) -> Iterator[View]:
        """Redraws while the block runs, if the console is a terminal."""
        if not self.console.is_terminal:
            yield self
            return
        with Live(self, console=self.console, refresh_per_second=4, transient=True):
            yield self

    def __rich__(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_row("  ".join(f"{n} {state}" for state, n in self.counts.items() if n))
        for row in self.running.values():
            table.add_row(*row.cells)
        return table

    def listen(self, run: Run, kind: str, value: Any) -> None:
        """Takes what the launcher tells."""
        if kind == "start":
            self._move("queued", "running")
            self.begun.add(run.folder)
            self.running.setdefault(value[0].folder, Running(value))  # the first may be finished already
        elif kind == "step" and run.folder in self.running:
            self.running[run.folder].step, self.running[run.folder].steps = value
        elif kind == "note" and value not in self.notes:
            self.notes.append(value)
            self.console.print(f"warning: {value}", style="yellow", markup=False, highlight=False, soft_wrap=True)
        elif kind in ("cached", "end"):
            self.running = {key: row for key, row in self.running.items() if run.folder not in row.folders}
            self._move("running" if run.folder in self.begun else "queued", "cached" if value.cached else value.status)
            self._say(run, value)

    def _move(self, before: str, after: str) -> None:
        self.counts[before] -= 1
        self.counts[after] += 1

    def _say(self, run: Run, result: Result) -> None:
        if result.cached:  # counted, and not worth a line each
            return
        done = sum(self.counts[state] for state in ("cached", "finished", "failed", "not run"))
        why = f": {result.error}" if result.error else ""
        seconds = duration(result.total_seconds) + (f", {result.stacked} stacked" if result.stacked > 1 else "")
        line = f"[{done}/{sum(self.counts.values())}] {named(run)} {result.status} in {seconds}{why}"
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def named(run: Run) -> str:
    """A Run as it is called on the terminal."""
    return " ".join(filter(None, (f"{run.benchmark}/{run.model}", pointed(run.point), f"seed {run.seed}")))

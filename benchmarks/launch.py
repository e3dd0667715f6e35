"""Where Runs execute: worker processes on the local devices, one or several for each Run or stack of Runs."""

from __future__ import annotations

import math
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from benchmarks import store
from benchmarks.crew import Crew, death
from benchmarks.ending import LAST
from benchmarks.execute import Options, blank, explained
from benchmarks.grouping import grouped
from benchmarks.plan import Run
from benchmarks.ranks import world_size
from benchmarks.store import Result
from benchmarks.worker import work

MOST_WORKERS = 16  # a worker takes about half a gigabyte before its data
#: Called with a Run, what happened to it ("cached", "start", "step", "note", "end") and what belongs to that.
Listener = Callable[[Run, str, Any], None]


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def places(devices: str) -> tuple[str, int]:
    """The accelerator and how many Runs execute at once, for `auto` or a count.

    Raises ValueError where more devices are asked for than there are.
    """
    import torch

    gpus = torch.cuda.device_count()
    there, kind = (gpus, "GPUs") if gpus else (cores(), "processor cores")
    most = gpus or min(there, MOST_WORKERS)
    count = most if devices == "auto" else int(devices) if devices.isdigit() else 0
    if not 1 <= count <= there:
        raise ValueError(f"expected auto or a count from 1 to {there} ({there} {kind} are visible), got {devices!r}")
    return ("gpu" if gpus else "cpu"), count


def _joined(process: ForkServerProcess) -> None:
    """Waits for a process that was asked to end, and ends it if it does not."""
    process.join(LAST)
    process.kill()
    process.join()


@dataclass
class Worker:
    """A process at work on a Run or on several that train as one stack, and those that share the work with it."""

    runs: tuple[Run, ...]
    process: ForkServerProcess
    connection: Connection
    devices: list[int]
    crew: Crew
    began: float | None = None  # none while it waits for another suite that executes the same Run

    @property
    def overdue(self) -> bool:
        return self.limit is not None and self.began is not None and time.monotonic() - self.began > self.limit

    @property
    def limit(self) -> float | None:
        """Seconds: those of all its Runs."""
        limit = self.runs[0].time_limit
        return None if limit is None else limit * len(self.runs)


class LocalLauncher:
    """A queue of Runs over worker processes; each Run that ends leaves its Result in the store."""

    def __init__(self, options: Options, workers: int, libraries: Sequence[str], listen: Listener) -> None:
        self.options = options
        self.listen = listen
        self.free = list(range(workers))
        self.workers: list[Worker] = []
        self.done: dict[Path, Result] = {}  # by the Run's folder
        self.context = multiprocessing.get_context("forkserver")
        # W&B imports its second module, for a third of a second, when a run starts
        wandb = ["wandb", "wandb.sdk.launch"] if options.wandb != "disabled" else []
        self.context.set_forkserver_preload(["benchmarks.worker", "benchmarks.peer", *wandb, *libraries])

    def launch(self, runs: Sequence[Run]) -> list[Result]:
        """Executes the Runs, each after those that it needs, and returns their Results in the same order."""
        unfinished = [run for run in runs if not self._cached(run)]
        waiting = grouped(unfinished, runs, self.options.results, len(self.free))
        try:
            while waiting or self.workers:
                waiting = [group for group in waiting if not self._started_or_dropped(group)]
                self._listen_to_workers()
        finally:
            for worker in self.workers:
                worker.process.terminate()
            for worker in self.workers:
                worker.crew.end()
                _joined(worker.process)
        return [self.done[run.folder] for run in runs]

    def _cached(self, run: Run) -> bool:
        result = None if self.options.force else store.finished(self.options.results / run.folder)
        if result:
            self._end(run, replace(result, cached=True))
        return result is not None

    def _end(self, run: Run, result: Result) -> None:
        self.done[run.folder] = result
        self.listen(run, "cached" if result.cached else "end", result)

    def _started_or_dropped(self, runs: tuple[Run, ...]) -> bool:
        """Starts a Run or a stack if there is room and what it needs is there; drops it if that failed."""
        run = runs[0]
        needed = [self.done.get(other.folder) for other in run.needs]
        if failed := [result for result in needed if result and result.status != "finished"]:
            how = "failed" if failed[0].status == "failed" else "was not run"
            reason = f"needs {failed[0].benchmark}/{failed[0].model}, which {how}"
            self._end(run, self._result(run, "not run", reason))
            return True
        places = len(self.free) + sum(len(worker.devices) for worker in self.workers)
        slots = min(places, world_size(run.config) * math.ceil((run.threads or 1) / self.options.threads))
        if None in needed or len(self.free) < slots:
            return False
        self._start(runs, [self.free.pop(0) for _ in range(slots)])
        return True

    def _start(self, runs: tuple[Run, ...], devices: list[int]) -> None:
        ours, theirs = self.context.Pipe()
        crew = Crew(self.context, runs[0], self.options, devices)
        args = (runs, self.options, devices[0], theirs, crew.place(0))
        process = self.context.Process(target=work, args=args, name=str(runs[0].folder))
        process.start()
        theirs.close()
        self.workers.append(Worker(runs, process, ours, devices, crew))
        for run in runs:
            if run.folder not in self.done:
                self.listen(run, "start", runs)

    def _listen_to_workers(self) -> None:
        talking = wait([c for w in self.workers for c in (w.connection, *w.crew.connections)], timeout=0.2)
        for worker in list(self.workers):
            worker.crew.hear(talking)
            if worker.crew.fault and not worker.connection.poll():  # what rank 0 has said may be the cause of it
                self._stop(worker, worker.crew.fault)
            elif worker.connection in talking:
                self._hear(worker)
            elif worker.overdue:
                self._stop(worker, f"time limit of {worker.limit:g} s reached")

    def _hear(self, worker: Worker) -> None:
        try:
            kind, *rest = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            self._died(worker)
            return
        if kind == "begin":
            worker.began = time.monotonic()
            worker.crew.begin()
        elif kind == "step":
            self.listen(worker.runs[0], "step", tuple(rest))
        elif kind == "wandb":
            problem, unusable = rest
            if not unusable or self.options.wandb == "online":  # the second that could not use it says nothing new
                self.listen(worker.runs[0], "note", problem)
            if unusable:  # a server that one Run could not use is not waited for by the next ones
                self.options = replace(self.options, wandb="offline")
        elif kind == "unwritten":
            self._leave(worker, [self._result(run, "failed", rest[0]) for run in worker.runs])
        elif kind == "broke":
            self._fail(worker, worker.crew.why(rest[0].error, rest[1]), rest[0])
        else:
            self._leave(worker, [self._stored(run, cached) for run, cached in zip(worker.runs, rest[0], strict=True)])

    def _stored(self, run: Run, cached: bool) -> Result:
        result = store.read(self.options.results / run.folder)
        assert result is not None, "a worker reports its end after writing its Results"
        return replace(result, cached=cached)

    def _leave(self, worker: Worker, results: Sequence[Result]) -> None:
        worker.crew.end(gently=True)
        worker.connection.close()
        worker.process.join()
        self.workers.remove(worker)
        self.free = sorted(self.free + worker.devices)
        for run, result in zip(worker.runs, results, strict=True):
            if run.folder not in self.done:  # else it was finished before, and only made the stack what it was
                self._end(run, result)

    def _stop(self, worker: Worker, reason: str) -> None:
        worker.process.terminate()
        worker.crew.end()
        _joined(worker.process)
        self._fail(worker, reason)

    def _died(self, worker: Worker) -> None:
        said = death(worker.process.exitcode or 0)
        self._fail(worker, f"rank 0: {said}" if worker.crew.world > 1 else said)

    def _fail(self, worker: Worker, reason: str, measured: Result | None = None) -> None:
        worker.crew.end()
        self._leave(worker, [self._failed(run, reason, measured) for run in worker.runs])

    def _failed(self, run: Run, reason: str, measured: Result | None) -> Result:
        """The Result of a Run whose worker ended: the one that it had made before, or that another made, if any."""
        folder = self.options.results / run.folder
        if not self.options.force and (made := store.finished(folder)):
            return made
        result = replace(measured or self._result(run, "failed", reason), error=reason)
        try:
            store.write(result, folder)
        except OSError as error:
            result.error = f"{reason}; {explained(error)}"
        return result

    def _result(self, run: Run, status: str, error: str) -> Result:
        return replace(blank(run, self.options, 0), status=status, error=error)

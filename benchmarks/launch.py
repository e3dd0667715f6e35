"""Where Runs execute: worker processes on the local devices, one Run each, or several for a Run of several ranks."""

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
from benchmarks.execute import Options, blank, explained, work
from benchmarks.plan import Run
from benchmarks.ranks import world_size
from benchmarks.store import Result

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
    """A process at work on a Run, and those that share the work with it."""

    run: Run
    process: ForkServerProcess
    connection: Connection
    devices: list[int]
    crew: Crew
    began: float | None = None  # none while it waits for another suite that executes the same Run

    @property
    def overdue(self) -> bool:
        limit = self.run.time_limit
        return limit is not None and self.began is not None and time.monotonic() - self.began > limit


class LocalLauncher:
    """A queue of Runs over worker processes; each Run that ends leaves its Result in the store."""

    def __init__(self, options: Options, workers: int, libraries: Sequence[str], listen: Listener) -> None:
        self.options = options
        self.listen = listen
        self.free = list(range(workers))
        self.workers: list[Worker] = []
        self.done: dict[Path, Result] = {}  # by the Run's folder
        self.context = multiprocessing.get_context("forkserver")
        wandb = ["wandb"] if options.wandb != "disabled" else []
        self.context.set_forkserver_preload(["benchmarks.execute", "benchmarks.peer", *wandb, *libraries])

    def launch(self, runs: Sequence[Run]) -> list[Result]:
        """Executes the Runs, each after those that it needs, and returns their Results in the same order."""
        waiting = [run for run in runs if not self._cached(run)]
        try:
            while waiting or self.workers:
                waiting = [run for run in waiting if not self._started_or_dropped(run)]
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

    def _started_or_dropped(self, run: Run) -> bool:
        """Starts a Run if there is room and what it needs is there; drops it if that failed."""
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
        self._start(run, [self.free.pop(0) for _ in range(slots)])
        return True

    def _start(self, run: Run, devices: list[int]) -> None:
        ours, theirs = self.context.Pipe()
        crew = Crew(self.context, run, self.options, devices)
        args = (run, self.options, devices[0], theirs, crew.place(0))
        process = self.context.Process(target=work, args=args, name=str(run.folder))
        process.start()
        theirs.close()
        self.workers.append(Worker(run, process, ours, devices, crew))
        self.listen(run, "start", None)

    def _listen_to_workers(self) -> None:
        talking = wait([c for w in self.workers for c in (w.connection, *w.crew.connections)], timeout=0.2)
        for worker in list(self.workers):
            worker.crew.hear(talking)
            if worker.crew.fault and not worker.connection.poll():  # what rank 0 has said may be the cause of it
                self._stop(worker, worker.crew.fault)
            elif worker.connection in talking:
                self._hear(worker)
            elif worker.overdue:
                self._stop(worker, f"time limit of {worker.run.time_limit:g} s reached")

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
            self.listen(worker.run, "step", tuple(rest))
        elif kind == "wandb":
            problem, unusable = rest
            if not unusable or self.options.wandb == "online":  # the second that could not use it says nothing new
                self.listen(worker.run, "note", problem)
            if unusable:  # a server that one Run could not use is not waited for by the next ones
                self.options = replace(self.options, wandb="offline")
        elif kind == "unwritten":
            self._leave(worker, self._result(worker.run, "failed", rest[0]))
        elif kind == "broke":
            self._fail(worker, worker.crew.why(rest[0].error, rest[1]), rest[0])
        else:
            self._leave(worker, store.read(self.options.results / worker.run.folder), cached=rest == ["cached"])

    def _leave(self, worker: Worker, result: Result | None, cached: bool = False) -> None:
        assert result is not None, "a worker reports its end after writing its Result"
        worker.crew.end(gently=True)
        worker.connection.close()
        worker.process.join()
        self.workers.remove(worker)
        self.free = sorted(self.free + worker.devices)
        self._end(worker.run, replace(result, cached=cached))

    def _stop(self, worker: Worker, reason: str) -> None:
        worker.process.terminate()
        worker.crew.end()
        _joined(worker.process)
        self._fail(worker, reason)

    def _died(self, worker: Worker) -> None:
        said = death(worker.process.exitcode or 0)
        self._fail(worker, f"rank 0: {said}" if worker.crew.world > 1 else said)

    def _fail(self, worker: Worker, reason: str, measured: Result | None = None) -> None:
        folder = self.options.results / worker.run.folder
        worker.crew.end()
        if not self.options.force and (made := store.finished(folder)):  # it died after its work, or another made it
            self._leave(worker, made)
            return
        result = measured or self._result(worker.run, "failed", reason)
        result.error = reason
        try:
            store.write(result, folder)
        except OSError as error:
            result.error = f"{reason}; {explained(error)}"
        self._leave(worker, result)

    def _result(self, run: Run, status: str, error: str) -> Result:
        return replace(blank(run, self.options, 0), status=status, error=error)

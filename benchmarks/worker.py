"""The main of a worker process: its Runs' locks and log, and the Results that it makes or finds."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks import store
from benchmarks.allocator import keep_memory
from benchmarks.ending import STATUS, Ending, Interrupted, follow
from benchmarks.execute import Options, explained, measure, snapshot_folder
from benchmarks.grouping import SNAPSHOT, resumable
from benchmarks.plan import Run
from benchmarks.ranks import Place


def work(
    runs: Sequence[Run], options: Options, device: int, connection: Connection, place: Place | None = None
) -> None:
    """Makes the Results of a Run or a stack of them, or reuses those that another suite has made meanwhile.

    With a place it is the first of several ranks: those that join it are started when it says that it begins.
    """
    folders, ending = [options.results / run.folder for run in runs], Ending()
    try:
        ending.install()
        follow(connection)
        take(runs[0], options, place)
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        with locked(folders), logged(folders[0] / "log.txt"):
            connection.send(made(runs, options, device, connection, ending, place))
    except Interrupted:
        os._exit(STATUS)  # not by way of what a library may still be waiting for
    except OSError as error:  # a folder that cannot be made, a Result that cannot be written
        connection.send(("unwritten", explained(error)))


def take(run: Run, options: Options, place: Place | None) -> None:
    """Takes the threads that the Run is to have, and the process's place among its ranks."""
    keep_memory()
    threads = run.threads or options.threads
    torch.set_num_threads(threads)
    if place is not None:
        place.enter(threads)


def made(
    runs: Sequence[Run],
    options: Options,
    device: int,
    connection: Connection,
    ending: Ending,
    place: Place | None = None,
) -> tuple[Any, ...]:
    """Sees to it that each Run's Result is in its folder; the worker's last word says which had been there.

    Where one of several ranks fails, only those who see all of them know why: the Result is theirs to write.
    """
    there = [not options.force and store.finished(options.results / run.folder) is not None for run in runs]
    if all(there):
        return "end", there
    connection.send(("begin",))
    left = [run for run, finished in zip(runs, there, strict=True) if not finished]
    whole = resumable(snapshot_folder(runs, options))
    together = runs if whole else left
    _refer(runs[0], left, options)
    results = measure(together, options, device, connection, ending, place, there if whole else ())
    if place is not None and results[0].status == "failed":
        return "broke", results[0], time.monotonic()
    for run, result in zip(left, results, strict=True):
        store.write(result, options.results / run.folder)
    if any(result.status == "finished" for result in results):
        _clear(together, options)
    return "end", there


def _clear(runs: Sequence[Run], options: Options) -> None:
    """Removes the snapshot that nothing will go on from."""
    folder = snapshot_folder(runs, options)
    (folder / SNAPSHOT).unlink(missing_ok=True)
    if runs[0].stacked:
        shutil.rmtree(folder, ignore_errors=True)


def _refer(first: Run, runs: Sequence[Run], options: Options) -> None:
    """Says in the logs of a stack's other Runs, from the beginning on, where that of the stack is."""
    for run in runs:
        if run is not first:
            with (options.results / run.folder / "log.txt").open("a", encoding="utf-8") as log:
                log.write(f"trained in a stack, whose log is {options.results / first.folder / 'log.txt'}\n")


@contextmanager
def locked(folders: Sequence[Path]) -> Iterator[None]:
    """Holds the folders' locks; the system gives them back when the process ends, however it ends.

    They are taken in one order, so that two suites never wait for each other.
    """
    with ExitStack() as locks:
        for folder in sorted(folders):
            fcntl.flock(locks.enter_context((folder / ".lock").open("w")), fcntl.LOCK_EX)
        yield


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Sends everything that the process prints to a file, what native code prints too."""
    log = path.open("a", encoding="utf-8", buffering=1)
    try:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        with redirect_stdout(log), redirect_stderr(log):
            yield
    finally:
        with suppress(OSError):  # what a full disk did not take is still in the buffer
            log.close()

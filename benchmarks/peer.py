"""Rank 1 and up of a Run that several processes execute: trains with rank 0, and leaves nothing but a log."""

from __future__ import annotations

import os
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

from lightning.pytorch.utilities.exceptions import SIGTERMException

from benchmarks import tracking, train
from benchmarks.ending import STATUS, Ending, Interrupted, follow
from benchmarks.execute import Options, explained, with_checkpoints
from benchmarks.grouping import SNAPSHOT
from benchmarks.plan import Run
from benchmarks.ranks import Place
from benchmarks.resume import Snapshots
from benchmarks.together import Together
from benchmarks.worker import logged, take


class Unwritten(tracking.History):
    """Takes what is logged, as rank 0's history does, and keeps it from the disk."""

    def save_if_due(self) -> None:
        """Rank 0 alone writes."""


def accompany(run: Run, options: Options, connection: Connection, place: Place) -> None:
    """The main of such a worker; what went wrong in it is its only word."""
    try:
        Ending().install()
        follow(connection)
        take(run, options, place)
        if fault := train_along(run, options, place):
            connection.send((time.monotonic(), fault))
    except (Interrupted, SIGTERMException):
        os._exit(STATUS)
    os._exit(1 if fault else 0)  # not by way of what a library may still be waiting for


def train_along(run: Run, options: Options, place: Place) -> str:
    """Makes the calls that rank 0 makes, and returns the reason of a failure; empty if all went well."""
    folder = options.results / run.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)  # it is another one where nodes share no disk
        with logged(folder / place.log):
            try:
                _train(run, options, place, folder)
            except Exception:
                traceback.print_exc()
                raise
    except Exception as error:  # a Run may fail in any way
        return explained(error)
    return ""


def _train(run: Run, options: Options, place: Place, folder: Path) -> None:
    history = Unwritten(folder / "history.csv")
    snapshots = Snapshots(folder / SNAPSHOT, options.checkpoint_every, [history], rank=place.rank)
    if not options.force:  # rank 0 removes it
        snapshots.load()
    train.run(
        with_checkpoints(run, options.results),
        run.seed,
        folder,
        accelerator=options.accelerator,
        devices=place.devices,
        loggers=lambda stage, first: [tracking.StageLogger(history, None, stage, first)],
        snapshots=snapshots,
        together=Together(place, run.seed),
    )

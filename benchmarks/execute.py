"""One Run → one Result, in a worker process of its own."""

from __future__ import annotations

import datetime
import errno
import fcntl
import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from lightning.pytorch.utilities.exceptions import SIGTERMException

from benchmarks import store, tracking, train
from benchmarks.ending import CLOSING, STATUS, Ending, Interrupted, follow
from benchmarks.machine import commit, device_name, peak_memory, versions
from benchmarks.plan import Run
from benchmarks.ranks import Place
from benchmarks.resume import Snapshots
from benchmarks.store import Result
from benchmarks.together import Together

SNAPSHOT = "resume.ckpt"


@dataclass(frozen=True)
class Options:
    """How Runs execute; nothing here changes their results."""

    results: Path
    wandb: str = "offline"
    accelerator: str = "cpu"
    threads: int = 1
    force: bool = False
    checkpoint_every: float = 30.0  # seconds between snapshots; 0: none but those of an orderly interruption


class Progress(pl.Callback):
    """Tells the driver, twice a second at most, how far the training is."""

    def __init__(self, connection: Connection, before: int = 0) -> None:
        self.connection = connection
        self.due = 0.0
        self.before = before  # steps of finished stages

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.num_training_batches == 0:
            raise ValueError("no training batch: the training split is smaller than one batch, or a limit is 0")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.before += trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if (now := time.monotonic()) >= self.due:
            self.due = now + 0.5
            steps = float(
                trainer.max_steps if trainer.max_steps > 0 else (trainer.max_epochs or 0) * trainer.num_training_batches
            )
            self.connection.send(("step", self.before + trainer.global_step, self.before + steps))


def work(run: Run, options: Options, device: int, connection: Connection, place: Place | None = None) -> None:
    """The worker's main: makes the Result of a Run, or reuses the one that another suite has made meanwhile.

    With a place it is the first of several ranks: those that join it are started when it says that it begins.
    """
    folder, ending = options.results / run.folder, Ending()
    try:
        ending.install()
        follow(connection)
        set_threads(run, options, place)
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder), _logged(folder / "log.txt"):
            connection.send(_made(run, options, device, folder, connection, ending, place))
    except Interrupted:
        os._exit(STATUS)  # not by way of what a library may still be waiting for
    except OSError as error:  # a folder that cannot be made, a Result that cannot be written
        connection.send(("unwritten", explained(error)))


def set_threads(run: Run, options: Options, place: Place | None) -> None:
    """Takes the threads that the Run is to have, and the process's place among its ranks."""
    threads = run.threads or options.threads
    torch.set_num_threads(threads)
    if place is not None:
        place.enter(threads)


def _made(
    run: Run,
    options: Options,
    device: int,
    folder: Path,
    connection: Connection,
    ending: Ending,
    place: Place | None = None,
) -> tuple[Any, ...]:
    """Sees to it that the Result is in its folder; the worker's last word says how.

    Where one of several ranks fails, only those who see all of them know why: the Result is theirs to write.
    """
    if not options.force and store.finished(folder):
        return "end", "cached"
    connection.send(("begin",))
    result = measure(run, options, device, folder, connection, ending, place)
    if place is not None and result.status == "failed":
        return "broke", result, time.monotonic()
    store.write(result, folder)
    if result.status == "finished":
        (folder / SNAPSHOT).unlink(missing_ok=True)
    return "end", result.status


def measure(
    run: Run,
    options: Options,
    device: int,
    folder: Path,
    connection: Connection | None = None,
    ending: Ending | None = None,
    place: Place | None = None,
) -> Result:
    """Executes a Run in this process, from its last snapshot if there is one.

    Whatever goes wrong becomes a failed Result with its reason. Raises Interrupted where the Run is to end early.
    """
    clock, result, ending = time.perf_counter(), blank(run, options, device), ending or Ending()
    result.threads = torch.get_num_threads()
    history = tracking.History(folder / "history.csv")
    snapshots = Snapshots(folder / SNAPSHOT, options.checkpoint_every, history)
    _begin(run, options, snapshots)
    result.attempts = snapshots.about["attempts"]
    ending.training = lambda: snapshots.training and place is None  # several ranks never stop at the same batch
    store.write_whole(folder / "config.yaml", yaml.safe_dump(dict(run.config), sort_keys=False))
    logged = None
    if options.wandb != "disabled":
        facts = tracking.about(run, snapshots.about["wandb"], result.attempts > 1, options.accelerator)
        renamed = partial(snapshots.about.__setitem__, "wandb")
        logged = tracking.WandbRun(options.wandb, folder, options.results, facts, renamed)
    try:
        outcome = train.run(
            with_checkpoints(run, options.results),
            run.seed,
            folder,
            accelerator=options.accelerator,
            devices=place.devices if place else 1 if options.accelerator == "cpu" else [device],
            loggers=lambda stage, first: [tracking.StageLogger(history, logged, stage, first)],
            callbacks=[Progress(connection, snapshots.steps)] if connection else [],
            snapshots=snapshots,
            together=Together(place, run.seed) if place else None,
        )
        _keep(outcome, result, folder)
        history.save()
    except (Interrupted, SIGTERMException):
        ending.finish()
        if logged is not None:
            logged.finish({"status": "interrupted"}, exit_code=STATUS, wait=CLOSING)
        raise Interrupted from None
    except Exception as error:  # a Run may fail in any way: its Result says how, the others go on
        result.status, result.error = "failed", explained(error)
        with suppress(OSError):  # a full disk takes no log either
            traceback.print_exc()
            history.save()
    ending.finish()
    _close(logged, result, run, folder, options, connection)
    result.peak_memory_bytes = peak_memory(options.accelerator)
    result.total_seconds = time.perf_counter() - clock
    return result


def _begin(run: Run, options: Options, snapshots: Snapshots) -> None:
    """Loads the snapshot of an earlier attempt, or gives the Run what all its attempts will share."""
    if options.force:
        snapshots.remove()
    if not snapshots.load():
        snapshots.about = {"wandb": tracking.identity(run), "attempts": 0}
    snapshots.about["attempts"] += 1


def _close(
    logged: tracking.WandbRun | None,
    result: Result,
    run: Run,
    folder: Path,
    options: Options,
    connection: Connection | None,
) -> None:
    """Ends the W&B run with the Result's numbers; the driver learns what went wrong with it."""
    if logged is None:
        return
    logged.do(lambda it: it.config.update({"params": result.params}))
    if options.wandb == "online" and result.status == "finished":
        logged.do(lambda it: None if logged.unusable else tracking.log_checkpoint(it, run, result, folder))
    numbers = {**result.metrics, "status": result.status, "params": result.params, "fit_seconds": result.fit_seconds}
    logged.finish(numbers, exit_code=0 if result.status == "finished" else 1)
    if logged.problem:
        print(logged.problem)
        if connection is not None:
            connection.send(("wandb", logged.problem, logged.unusable))


def blank(run: Run, options: Options, device: int) -> Result:
    """The Result of a Run that has just begun: everything but what it will measure."""
    return Result(
        run.id,
        run.benchmark,
        run.model,
        run.seed,
        dict(run.point),
        device=device_name(options.accelerator, device),
        threads=run.threads or options.threads,
        commit=commit(),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions=versions(),
        folder=str(options.results / run.folder),
    )


def _keep(outcome: train.Outcome, result: Result, folder: Path) -> None:
    import numpy as np

    if outcome.arrays:
        np.savez_compressed(folder / "arrays.npz", **{n: a.numpy() for n, a in outcome.arrays.items()})  # type: ignore[arg-type]
        store.settle(folder / "arrays.npz")
    store.settle(folder / "checkpoint.ckpt")
    result.metrics, result.params, result.steps = outcome.metrics, outcome.params, outcome.steps
    result.fit_seconds = outcome.fit_seconds
    result.steps_per_second = outcome.steps / outcome.fit_seconds if outcome.fit_seconds else 0.0
    result.status = "finished"


def with_checkpoints(run: Run, results: Path) -> dict[str, Any]:
    """The configuration with the files of the Runs that it needs."""
    files = {other.id: str(results / other.folder / "checkpoint.ckpt") for other in run.needs}
    arguments = {
        key: {**{k: v for k, v in value.items() if k != "from"}, "checkpoint": files[value["from"]]}
        if isinstance(value, dict) and "from" in value
        else value
        for key, value in run.config["model"]["init_args"].items()
    }
    return {**run.config, "model": {**run.config["model"], "init_args": arguments}}


def explained(error: BaseException) -> str:
    """The reason of a failure in one line."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" writing {error.filename}" if error.filename else ""
        return f"the disk is full{where}: free some space, and the same command goes on from the last snapshot"
    if "parameters that were not used in producing the loss" in str(error):  # DDP's words for it
        return "some parameters took no part in the loss: set trainer.strategy to ddp_find_unused_parameters_true"
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
        return f"out of memory: {str(error).partition(chr(10))[0] or type(error).__name__}"
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock; the system gives it back when the process ends, however it ends."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _logged(path: Path) -> Iterator[None]:
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

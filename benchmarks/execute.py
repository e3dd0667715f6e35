"""One Run → one Result, in a worker process of its own; a stack of Runs → as many."""

from __future__ import annotations

import datetime
import errno
import json
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import compress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from benchmarks import stack, store, tracking, train
from benchmarks.ending import CLOSING, STATUS, Ending, Interrupted
from benchmarks.grouping import MARK, SNAPSHOT, stack_folder
from benchmarks.machine import commit, device_name, peak_memory, versions
from benchmarks.plan import Run
from benchmarks.ranks import Place
from benchmarks.resume import Snapshots
from benchmarks.store import Result
from benchmarks.together import Together


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


def measure(
    runs: Sequence[Run],
    options: Options,
    device: int,
    connection: Connection | None = None,
    ending: Ending | None = None,
    place: Place | None = None,
    there: Sequence[bool] = (),
) -> list[Result]:
    """Executes a Run, or several as one stack, in this process, from the last snapshot if there is one.

    Whose Result is there already only makes the stack what it was: nothing of it is touched, and it has no Result here.
    Whatever goes wrong becomes a failed Result with its reason. Raises Interrupted where the Run is to end early.
    """
    clock, ending = time.perf_counter(), ending or Ending()
    left = [not finished for finished in there] or [True] * len(runs)
    todo = list(compress(runs, left))
    results = [blank(run, options, device) for run in todo]
    histories = [tracking.History(options.results / run.folder / "history.csv") for run in runs]
    snapshots = Snapshots(snapshot_folder(runs, options) / SNAPSHOT, options.checkpoint_every, histories)
    _begin(runs, options, snapshots)
    _write_configs(todo, options)
    ending.training = lambda: snapshots.training and place is None  # several ranks never stop at the same batch
    numbers = range(0 if options.wandb == "disabled" else len(runs))
    logged = {n: _logged_run(runs, n, options, snapshots) for n in numbers if left[n]}
    histories = list(compress(histories, left))
    try:
        outcomes = _trained(runs, options, device, connection, snapshots, logged, place, left)
        for run, outcome, result in zip(todo, outcomes, results, strict=True):
            _keep(outcome, result, options.results / run.folder)
        for history in histories:
            history.save()
    except (Interrupted, SIGTERMException):
        ending.finish()
        _close_interrupted(list(logged.values()))
        raise Interrupted from None
    except Exception as error:  # a Run may fail in any way: its Result says how, the others go on
        with suppress(OSError):  # a full disk takes no log either
            traceback.print_exc()
        for history, result in zip(histories, results, strict=True):
            result.status, result.error = "failed", explained(error)
            with suppress(OSError):
                history.save()
    ending.finish()
    _close(list(logged.values()), results, todo, options, connection)
    for result in results:
        result.attempts = snapshots.about["attempts"]
        result.peak_memory_bytes = peak_memory(options.accelerator)
        result.total_seconds = (time.perf_counter() - clock) / len(runs)
    return results


def _begin(runs: Sequence[Run], options: Options, snapshots: Snapshots) -> None:
    """Loads the snapshot of an earlier attempt, or gives the Runs what all their attempts will share."""
    if options.force:
        snapshots.remove()
    if not snapshots.load():
        snapshots.about = {"wandb": [tracking.identity(run) for run in runs], "attempts": 0}
    snapshots.about["attempts"] += 1
    if runs[0].stacked:
        snapshots.path.parent.mkdir(parents=True, exist_ok=True)
        store.write_whole(snapshots.path.with_name(MARK), json.dumps([str(run.folder) for run in runs]))


def _write_configs(runs: Sequence[Run], options: Options) -> None:
    for run in runs:
        config = yaml.safe_dump(dict(run.config), sort_keys=False)
        store.write_whole(options.results / run.folder / "config.yaml", config)


def snapshot_folder(runs: Sequence[Run], options: Options) -> Path:
    """Where the snapshot of a Run, or of a stack of them, lies."""
    return stack_folder(runs, options.results) if runs[0].stacked else options.results / runs[0].folder


def _logged_run(runs: Sequence[Run], number: int, options: Options, snapshots: Snapshots) -> tracking.WandbRun:
    """The W&B run of a Run, under the id that all its attempts share."""
    run, ids = runs[number], snapshots.about["wandb"]
    facts = tracking.about(run, ids[number], snapshots.about["attempts"] > 1, options.accelerator)
    folder = options.results / run.folder
    return tracking.WandbRun(options.wandb, folder, options.results, facts, partial(ids.__setitem__, number))


def _trained(
    runs: Sequence[Run],
    options: Options,
    device: int,
    connection: Connection | None,
    snapshots: Snapshots,
    logged: Mapping[int, tracking.WandbRun],
    place: Place | None,
    left: Sequence[bool],
) -> list[train.Outcome]:
    """What the Runs that are left measured: one alone, one with other ranks, or all as one module."""

    def loggers(number: int, stage: str, first: int) -> list[Logger]:
        own = tracking.StageLogger(snapshots.histories[number], logged.get(number), stage, first)
        return [own] if left[number] else []

    where: dict[str, Any] = {
        "accelerator": options.accelerator,
        "devices": place.devices if place else 1 if options.accelerator == "cpu" else [device],
        "callbacks": [Progress(connection, snapshots.steps)] if connection else [],
        "snapshots": snapshots,
    }
    made = [
        (with_checkpoints(run, options.results), run.seed, options.results / run.folder, partial(loggers, number))
        for number, run in enumerate(runs)
    ]
    if runs[0].stacked:
        return stack.run([stack.Member(*one, own) for one, own in zip(made, left, strict=True)], **where)
    ((config, seed, folder, own),) = made
    return [train.run(config, seed, folder, loggers=own, together=Together(place, seed) if place else None, **where)]


def _close_interrupted(logged: Sequence[tracking.WandbRun]) -> None:
    end = time.monotonic() + CLOSING
    for own in logged:
        own.close({"status": "interrupted"}, exit_code=STATUS)
    for own in logged:
        own.closed(max(0.0, end - time.monotonic()))


def _close(
    logged: Sequence[tracking.WandbRun],
    results: Sequence[Result],
    runs: Sequence[Run],
    options: Options,
    connection: Connection | None,
) -> None:
    """Ends the W&B runs with the Results' numbers; the driver learns what went wrong with them."""
    for own, result, run in zip(logged, results, runs, strict=False):
        own.do(partial(_told, own, result, run, options))
        numbers = {"status": result.status, "params": result.params, "fit_seconds": result.fit_seconds}
        own.close({**result.metrics, **numbers}, exit_code=0 if result.status == "finished" else 1)
    for own in logged:
        own.closed()
        if own.problem:
            print(own.problem)
            if connection is not None:
                connection.send(("wandb", own.problem, own.unusable))


def _told(own: tracking.WandbRun, result: Result, run: Run, options: Options, logged: Any) -> None:
    logged.config.update({"params": result.params})
    if options.wandb == "online" and result.status == "finished" and not own.unusable:
        tracking.log_checkpoint(logged, run, result, options.results / run.folder)


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

    result.metrics, result.params, result.steps = outcome.metrics, outcome.params, outcome.steps
    result.fit_seconds = outcome.fit_seconds
    result.steps_per_second = outcome.steps / outcome.fit_seconds if outcome.fit_seconds else 0.0
    result.stacked = outcome.stacked
    if outcome.error:
        result.status, result.error = "failed", outcome.error
        return
    if outcome.arrays:
        np.savez_compressed(folder / "arrays.npz", **{n: a.numpy() for n, a in outcome.arrays.items()})  # type: ignore[arg-type]
        store.settle(folder / "arrays.npz")
    store.settle(folder / "checkpoint.ckpt")
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

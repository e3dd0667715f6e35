"""Our side of a pair: trainings through the harness, with the callbacks and the logger that a Run has."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from benchmarks import stack as stacks
from benchmarks import train
from benchmarks.execute import Progress
from benchmarks.grouping import SNAPSHOT
from benchmarks.pairs import Place, Work
from benchmarks.resume import Snapshots
from benchmarks.tracking import History, StageLogger


def now(device: str) -> float:
    """Seconds of a clock, when all that was asked of the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def config(data: str, model: str, *, arguments: Mapping[str, Any], data_arguments: Any, **trainer: Any) -> Any:
    """A resolved configuration without validation, tested on one batch: training is what the pairs compare."""
    limits = {"limit_val_batches": 0, "limit_test_batches": 1}
    return {
        "data": {"class_path": data, "init_args": dict(data_arguments)},
        "model": {"class_path": model, "init_args": dict(arguments)},
        "trainer": {**trainer, **limits},
        "fit": True,
        "callbacks": [],
    }


def seeded(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The configuration of one seed: its data follow it."""
    data = settings["data"]
    return {**settings, "data": {**data, "init_args": {**data["init_args"], "seed": seed}}}


class Clock(pl.Callback):
    """Times trainings, each from the end of its first `skip` steps to its own end; notes when it took its first."""

    def __init__(self, device: str, skip: int) -> None:
        self.device, self.skip = device, skip
        self.seconds = 0.0
        self.first: float | None = None
        self._began: float | None = None
        # what a Run tells its driver twice a second is small beside a pipe's buffer: nobody need read it
        self.driver, self.worker = Pipe(duplex=False)

    def _begin(self, step: int) -> None:
        if self._began is None and step >= self.skip:
            self._began = now(self.device)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.first = self.first or now(self.device)
        self._begin(trainer.global_step)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if self._began is None:
            self._begin(trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert self._began is not None, "a training of more steps than are skipped"
        self.seconds += now(self.device) - self._began


def fit(
    settings: Mapping[str, Any], seeds: Sequence[int], place: Place, *, skip: int = 0, stacked: bool = False
) -> Work:
    """Trains every seed and times the steps after the first `skip` ones; a unit is one step of one seed.

    Samples are counted as if every batch were whole.
    """
    clock, start = Clock(place.device, skip), now(place.device)
    folder = Path(tempfile.mkdtemp(dir=place.folder))
    outcomes = (stack if stacked else singles)(settings, seeds, folder, clock)
    assert clock.first is not None
    steps = sum(outcome.steps - skip for outcome in outcomes)
    samples = steps * settings["data"]["init_args"]["batch_size"]
    loss = sum(outcome.metrics["test/loss"] for outcome in outcomes) / len(outcomes)
    return Work(clock.seconds, steps, samples, clock.first - start, loss)


def stack(settings: Mapping[str, Any], seeds: Sequence[int], folder: Path, clock: Clock) -> list[train.Outcome]:
    """The seeds as one stack, as a worker process executes it."""
    histories = [_history(folder / str(seed)) for seed in seeds]
    members = [
        stacks.Member(seeded(settings, seed), seed, history.path.parent, _loggers(history))
        for seed, history in zip(seeds, histories, strict=True)
    ]
    return stacks.run(members, **_where(folder, clock, histories))


def singles(settings: Mapping[str, Any], seeds: Sequence[int], folder: Path, clock: Clock) -> list[train.Outcome]:
    """The seeds one after the other, each as a worker process executes a Run."""
    outcomes = []
    for seed in seeds:
        history = _history(folder / str(seed))
        own = seeded(settings, seed)
        where = _where(history.path.parent, clock, [history])
        outcomes.append(train.run(own, seed, history.path.parent, loggers=_loggers(history), **where))
    return outcomes


def _history(folder: Path) -> History:
    folder.mkdir()
    return History(folder / "history.csv")


def _loggers(history: History) -> train.Loggers:
    return lambda stage, first: [StageLogger(history, None, stage, first)]


def _where(folder: Path, clock: Clock, histories: Sequence[History]) -> dict[str, Any]:
    return {
        "accelerator": "gpu" if clock.device == "cuda" else "cpu",
        "callbacks": [Progress(clock.worker), clock],
        "snapshots": Snapshots(folder / SNAPSHOT, 30.0, histories),
    }

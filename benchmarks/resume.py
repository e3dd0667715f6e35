"""Snapshots of a training, from which an interrupted Run goes on as if nothing had happened.

Nothing here changes a result: a Run that was interrupted anywhere ends with the numbers of one that was not.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from benchmarks import together
from benchmarks.epoch_sums import EpochSums
from benchmarks.randomness import random_states, set_random_states
from benchmarks.store import settle
from benchmarks.tracking import History
from zoo._module import ZooModule

if TYPE_CHECKING:
    from benchmarks.train import Outcome

KEY = "paperzoo"  # our part of Lightning's checkpoint
COST = 20  # writing snapshots takes at most one part in COST of the time
TOGETHER = 50  # batches after which several ranks ask rank 0 whether a snapshot is due
PARAMETRISED = re.compile(r"parametrizations\.([^.]+)\.original$")  # torch's name for what is behind a weight
OWN = ("records", "metrics", "sums", "random")  # what is not the same on all ranks


class Snapshots(pl.Callback):
    """Writes a training's state every `every` seconds between two batches, and brings it back.

    The file is a Lightning checkpoint (weights, optimisers, schedules, callbacks, progress) with the random states,
    the running epoch's metric sums, what was recorded and logged so far, and what finished stages left beside it. It
    loads with `weights_only=True`, and is replaced by a rename once the new one is whole. It has to be the first
    callback, so that between two of its hooks everything that belongs to a batch is done.
    """

    def __init__(
        self,
        path: Path,
        every: float,
        histories: Sequence[History],
        about: dict[str, Any] | None = None,
        rank: int = 0,
    ) -> None:
        self.path, self.every, self.histories, self.rank = path, every, histories, rank
        self.about = about or {}  # plain facts that every attempt at the Run shares
        self.training = False
        self.stage = 0
        self._saved: dict[str, Any] | None = None  # what is still to be brought back
        self._sums = EpochSums()
        self._due = 0.0
        self._asked = 0

    def load(self) -> bool:
        """Whether there is a snapshot to go on from; one that cannot be read is as good as none."""
        if not self.path.is_file():
            return False
        try:
            saved = torch.load(self.path, map_location="cpu", weights_only=True)[KEY]
            self.about, self.stage = saved["about"], saved["stage"]
            for history, rows in zip(self.histories, saved["histories"], strict=True):
                history.rows = {(stage, step): row for stage, step, row in rows}
            saved |= saved["ranks"][self.rank] if "ranks" in saved else {}
        except Exception as error:  # unpickling a damaged file may raise anything
            print(f"{self.path} cannot be read ({type(error).__name__}: {error}): the Run starts from its beginning")
            return False
        self._saved = saved
        return True

    @property
    def steps(self) -> int:
        """The steps of the stages that were finished before."""
        return self._saved["outcome"]["steps"] if self._saved else 0

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def begin(self, model: ZooModule, outcome: Outcome) -> int:
        """Brings back what the finished stages left, and returns the number of the stage to fit first."""
        self.model, self.outcome = model, outcome
        if self._saved is None:
            return 0
        for name, value in self._saved["outcome"].items():
            setattr(outcome, name, value)
        if saved := self._saved["model"]:
            model.load_state_dict(as_made(saved, model.state_dict().keys()))
        return self.stage

    def enter(self, stage: int) -> dict[str, Any]:
        """Arguments of `Trainer.fit` for a stage: the snapshot's path, if it was taken there."""
        self.stage, self._start = stage, time.perf_counter()
        self._due = time.monotonic() + self.every
        return {} if self._saved is None else {"ckpt_path": str(self.path), "weights_only": True}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lightning may have made its loaders already, for the number of steps, and then leaves them at their start."""
        self.training = True
        if trainer.world_size > 1:
            begun = self._saved and (self.stage, trainer.global_step)
            together.require_alike(begun, "the ranks go on from different snapshots")
        if self._saved is not None and trainer.fit_loop._combined_loader is not None:
            trainer.fit_loop._combined_loader._load_state_dicts(self._saved["loaders"])

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.training = False

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Of a training that was interrupted after its last step, Lightning runs nothing more: its end is due here."""
        if self._saved is not None:
            trainer.fit_loop.on_run_start()
            self._bring_back(trainer, pl_module)
            trainer.fit_loop.on_run_end()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._saved is None:
            self._write_if_due(trainer)
        elif self._saved["position"] == 0:
            self._bring_back(trainer, pl_module)
            trainer.fit_loop.epoch_loop.restarting = False  # the epoch starts at its first batch, as any other does

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, index: int) -> None:
        if self._saved is not None:
            self._bring_back(trainer, pl_module)
            return
        self._sums.merge(trainer)
        if index > 0:
            self._write_if_due(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._sums.merge(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Lightning ends a training that is asked to by raising this between two batches."""
        self.training = False
        if isinstance(exception, SIGTERMException) and self._saved is None and trainer.world_size == 1:
            self._sums.merge(trainer)
            self._write(trainer)

    def _write_if_due(self, trainer: pl.Trainer) -> None:
        if self.every and self._is_due(trainer):
            start = time.monotonic()
            self._write(trainer)
            self._due = time.monotonic() + max(self.every, COST * (time.monotonic() - start))

    def _is_due(self, trainer: pl.Trainer) -> bool:
        """Whether it is time; several ranks decide it together, and not at every batch."""
        due = time.monotonic() >= self._due
        if trainer.world_size == 1:
            return due
        self._asked += 1
        return self._asked % TOGETHER == 0 and trainer.strategy.broadcast(due)

    def _write(self, trainer: pl.Trainer) -> None:
        """Replaces the snapshot by one of this moment, if it is one that a training can start from."""
        if position(trainer) is None:
            return
        temporary = self.path.with_suffix(".partial")
        if self.rank:
            trainer.save_checkpoint(temporary)  # it takes all ranks, and rank 0 writes
            return
        try:
            trainer.save_checkpoint(temporary)
            settle(temporary)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        temporary.replace(self.path)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        at = position(trainer)
        assert at is not None, "only _write saves a checkpoint with its callbacks"
        loops = checkpoint["loops"]["fit_loop"]
        checkpoint["loops"] = {"fit_loop": progress(loops, at)}
        spent = self.outcome.fit_seconds + time.perf_counter() - self._start
        checkpoint[KEY] = {
            "position": at,
            "loaders": [{"position": at} for _ in loops["state_dict"].get("combined_loader", ())],
            "stage": self.stage,
            "about": self.about,
            "model": self.model.state_dict() if pl_module is not self.model else {},  # else Lightning has it
            "outcome": vars(self.outcome) | {"fit_seconds": spent},
            "histories": [[[*at, row] for at, row in history.rows.items()] for history in self.histories],
            "records": pl_module.recorded if isinstance(pl_module, ZooModule) else {},
            "metrics": {name: value.detach().clone() for name, value in trainer.callback_metrics.items()},
            "sums": EpochSums.of(trainer) if at else {},
            "random": random_states(trainer),
        }
        if trainer.world_size > 1:
            checkpoint[KEY]["ranks"] = together.gathered({name: checkpoint[KEY][name] for name in OWN})

    def _bring_back(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """The last of the restoring: after all that happens at a training's start, before its first batch."""
        saved, self._saved = self._saved, None
        assert saved is not None
        if isinstance(module, ZooModule):
            module.load_records(saved["records"])
        trainer.callback_metrics.update(saved["metrics"])
        self._sums.load(trainer, saved["sums"])
        set_random_states(saved["random"])


def as_made(state: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Saved tensors under the names of a model as it is made: a callback may have parametrised its weights since."""
    plain = {key: key if key in names else PARAMETRISED.sub(r"\1", key) for key in state}
    return {plain[key]: value for key, value in state.items() if plain[key] in names}


def position(trainer: pl.Trainer) -> int | None:
    """How many batches of the running epoch are done; none where no training can start from.

    That is in the middle of an accumulation, whose gradients no checkpoint holds, and right after a validation
    within an epoch, which Lightning would count again.
    """
    loop = trainer.fit_loop.epoch_loop
    epoch: Any = trainer.fit_loop.epoch_progress.current
    done = loop.batch_progress.current.completed if epoch.started > epoch.processed else 0
    if done % trainer.accumulate_grad_batches:
        return None
    every, everywhere = trainer.val_check_batch, trainer.check_val_every_n_epoch is None
    counted = loop.batch_progress.total.completed if everywhere else done
    validated = done and trainer.enable_validation and every not in (None, float("inf")) and counted % every == 0
    return None if validated else done


def progress(loops: Mapping[str, Any], done: int) -> dict[str, Any]:
    """Lightning's counters for the moment at which `done` batches of the epoch are done and none is begun."""

    def even(count: int) -> dict[str, int]:
        return dict.fromkeys(("ready", "started", "processed", "completed"), count)

    batches, epochs = loops["epoch_loop.batch_progress"], loops["epoch_progress"]
    begun = {name: even(part["processed"]) for name, part in epochs.items()}
    for part in begun.values():
        part["ready"] = part["started"] = part["processed"] + (done > 0)
    total = even(batches["total"]["completed"])
    return {
        **{name: state for name, state in loops.items() if "val_loop" not in name and name != "state_dict"},
        "epoch_loop.batch_progress": {"total": total, "current": even(done), "is_last_batch": False},
        "epoch_progress": begun,
    }

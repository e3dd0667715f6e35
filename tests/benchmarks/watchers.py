"""Callbacks that look at one replica, or at a model trained alone, and keep what they saw."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch


class Seeing(pl.Callback):
    """Records the trainer's counters, the model's mode and the metrics, wherever they are looked at."""

    per_replica = True

    def _note(self, trainer: Any, pl_module: Any, hook: str) -> None:
        seen = [
            pl_module.global_step,
            pl_module.current_epoch,
            float(pl_module.training),
            float(pl_module.norm.training),
        ]
        metrics = [float(trainer.callback_metrics.get(name, -1.0)) for name in ("train/loss", "val/loss")]
        pl_module.record(
            hook, torch.tensor([*seen, *metrics, float(pl_module.trainer is not None)], dtype=torch.double)
        )

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._note(trainer, pl_module, "train_start")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self._note(trainer, pl_module, "train_batch_end")

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self._note(trainer, pl_module, "validation_start")

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._note(trainer, pl_module, "validation_epoch_end")

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._note(trainer, pl_module, "validation_end")

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._note(trainer, pl_module, "train_epoch_end")

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        self._note(trainer, pl_module, "fit_end")


class Logging(pl.Callback):
    """Logs in every way that Lightning has, once to the logger itself."""

    per_replica = True

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        pl_module.log("train/mean", batch[0].mean(), on_step=False, on_epoch=True)
        pl_module.log("train/now", outputs["loss"])

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.log("train/extra", pl_module.inner.weight.norm())
        pl_module.log_dict({"train/more": 2.0 * pl_module.offset.detach()})

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.log_scalars("val", {"extra": pl_module.outer.weight.norm()}, 1)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        (logger,) = trainer.loggers
        assert logger is trainer.logger is pl_module.logger
        logger.log_metrics({"direct": pl_module.trainer.datamodule.seed, "epoch": 0}, trainer.global_step)


class Ending(Seeing):
    """Ends the training with the first epoch whose number exceeds its data's seed."""

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if trainer.current_epoch > trainer.datamodule.seed:
            trainer.should_stop = True


class Misplaced(pl.Callback):
    """Logs where nothing can be logged."""

    per_replica = True

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.log("train/end", 1.0)


class Failing(pl.Callback):
    """Fails in the third step."""

    per_replica = True

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 3:
            raise RuntimeError("no more")

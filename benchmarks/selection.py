"""Callbacks that watch a training: the best weights kept, non-finite losses stopped."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
import torch


class BestWeights(pl.Callback):
    """Keeps the weights of the best epoch of a logged metric in memory and restores them when training ends.

    A `train/…` metric is compared when its epoch ends, a `val/…` metric after each validation; only a strict
    improvement replaces the weights. A callback that changes the model may say that it is not `settled`, as one that
    prunes it until it is as sparse as asked: weights of that time are not kept.
    Raises ValueError when the metric is not logged.
    """

    per_replica = True

    def __init__(self, monitor: str, mode: str = "min") -> None:
        self.monitor = monitor
        self.sign = 1.0 if mode == "min" else -1.0
        self.best = math.inf
        self.weights: dict[str, torch.Tensor] = {}

    def _compare(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.monitor not in trainer.callback_metrics:
            logged = ", ".join(sorted(trainer.callback_metrics)) or "nothing"
            raise ValueError(f"select.monitor is {self.monitor!r}, but the model logs {logged}")
        if not all(getattr(callback, "settled", True) for callback in trainer.callbacks):  # type: ignore[attr-defined]
            return
        value = self.sign * float(trainer.callback_metrics[self.monitor])
        if value < self.best:
            self.best = value
            self.weights = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.monitor.startswith("val/"):
            self._compare(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.monitor.startswith("train/"):
            self._compare(trainer, pl_module)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.weights:
            pl_module.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.weights = state_dict["best"], state_dict["weights"]


class FiniteLoss(pl.Callback):
    """Ends a training whose loss is no longer a number: looks at every `every`-th step and at the last one."""

    def __init__(self, every: int = 50) -> None:
        self.every = every
        self.last: torch.Tensor | None = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        self.last = loss if isinstance(loss, torch.Tensor) else None
        if trainer.global_step % self.every == 0:
            self._look(trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._look(trainer.global_step)

    def _look(self, step: int) -> None:
        if self.last is not None and not torch.isfinite(self.last):
            raise FloatingPointError(f"the loss is {float(self.last)} at step {step}")

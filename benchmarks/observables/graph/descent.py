"""Gradient descent beside the bound that its conditioning promises, and where it goes astray."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from benchmarks.observables.graph.conditioning import training_columns


class ConvergenceBound(pl.Callback):
    """Follows a linear graph network's loss L_t in each step, and the bound of its gradient flow,

        L_t <= L_0 exp(-4 int_0^t sigma_min^2(h_s) ds),   time being lr a step,

    h what the readouts see at the training nodes. It logs

        test/excess      the largest of log L_t - log L_0 + 4 int sigma_min^2: above 0 where the bound was violated
        test/bound       the bound after the last step
        test/growth      the largest of L_t / L_0
        test/diverged    1 where L_t came above `astray` L_0, and training ended there, else 0

    and records `loss` and `bound` of every step. The integral is a sum over steps of the rate before each.

    Raises ValueError for an `astray` that is not above 1. For LinearGNN.
    """

    def __init__(self, astray: float = 10.0) -> None:
        if not astray > 1:
            raise ValueError(f"astray must be above 1, got {astray}")
        self.astray = astray
        self.first, self.integral, self.excess, self.growth = 0.0, 0.0, 0.0, 1.0
        self.rate = 0.0
        self.columns = torch.zeros(0)

    def refusal(self, model: Any, data: Any) -> str:
        """Why no bound holds; nothing where one does."""
        return "" if hasattr(model, "hidden") else f"{type(model).__name__} is no linear graph network"

    def state_dict(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in ("first", "integral", "excess", "growth")}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        vars(self).update(state_dict)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self.columns = training_columns(pl_module, data.tensors("train"), len(pl_module.layers)).to(pl_module.dtype)

    @torch.no_grad()
    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.rate = rate(pl_module.hidden(self.columns))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        loss = outputs["loss"].detach().double()
        self.first = self.first or float(loss)
        pl_module.record("loss", loss)
        pl_module.record("bound", torch.full_like(loss, self.bound))
        self.excess = max(self.excess, math.log(float(loss) / self.bound))
        self.growth = max(self.growth, float(loss) / self.first)
        self.integral += pl_module.lr * self.rate

    @property
    def bound(self) -> float:
        return self.first * math.exp(-4 * self.integral)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.growth > self.astray:
            trainer.should_stop = True

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        found = {"excess": self.excess, "bound": self.bound, "growth": self.growth}
        for name, value in {**found, "diverged": float(self.growth > self.astray)}.items():
            pl_module.log(f"test/{name}", value)


def rate(h: Tensor) -> float:
    """sigma_min^2 of h (k, …), a row a node: 0 where there are more nodes than columns."""
    if len(h) > h.shape[1]:
        return 0.0
    wide = h.double()
    return max(0.0, float(torch.linalg.eigvalsh(wide @ wide.T)[0]))

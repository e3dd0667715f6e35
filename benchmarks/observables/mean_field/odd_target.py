"""What is measured along the training on an odd target."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from benchmarks.observables.steps import stepped
from datamodules import OddTarget
from zoo.mean_field import TwoLayerReLU
from zoo.mean_field.infinite_width import odd_target_bound, odd_target_path


class OddTargetDynamics(pl.Callback):
    """Follows a TwoLayerReLU on an OddTarget against the infinite-width limit.

    Every `every` steps it records `distance` = ||w(t) - w*||, with w(t) the linear part of the network; when an
    epoch ends, `defect` = mean((f(x) - w(t) . x)^2) on fresh inputs. At the end it logs

        test/ode_gap       max_k | distance_k - ODE_k | / ||w*||
        test/bound_ratio   max_k distance_k / (||w*|| exp(-V t_k / 4d))
        test/late_rate     -slope of log distance over t in the steps `window`
        test/defect        max of the defects
        test/excess_loss   test loss less that of the best linear predictor on the same test set

    Raises ValueError for every < 1, a window that ends before it begins, and for a target that is not odd or another
    model: the limit is not theirs.
    """

    per_replica = True

    def __init__(self, every: int = 10, window: tuple[int, int] = (2100, 2700)) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        if not window[0] < window[1]:
            raise ValueError(f"window must be two steps, the first one before the second, got {list(window)}")
        self.every = every
        self.window = window

    def refusal(self, model: pl.LightningModule, data: pl.LightningDataModule) -> str:
        """Why this model and data cannot be followed; nothing where they can."""
        if not isinstance(data, OddTarget):
            return (
                f"the infinite-width limit is that of an odd target, and {type(data).__name__} is none: use OddTarget"
            )
        if not isinstance(model, TwoLayerReLU):
            return f"the infinite-width limit is that of TwoLayerReLU, not of {type(model).__name__}"
        return ""

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if reason := self.refusal(pl_module, data):
            raise ValueError(reason)
        self.target = data.best_linear.to(pl_module.w)
        self.probe = data.held_out("val")[0].to(pl_module.w)
        self._measure(pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if stepped(trainer, batch_idx) and trainer.global_step % self.every == 0:
            self._measure(pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        with torch.no_grad():
            defect = pl_module(self.probe) - self.probe @ pl_module.linear_part()
            pl_module.record("defect", defect.square().mean())

    def _measure(self, module: Any) -> None:
        with torch.no_grad():
            module.record("distance", (module.linear_part() - self.target).norm())

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        x, y = (tensor.to(pl_module.w) for tensor in data.held_out("test"))
        best = data.best_linear.to(x)
        linear_loss = (y - x @ best).square().mean() / 2
        excess = (pl_module(x) - y).square().mean() / 2 - linear_loss
        recorded = pl_module.recorded
        scalars = {"excess_loss": excess, "defect": recorded["defect"].max()}
        scalars |= self._along(recorded["distance"].double(), data.dim, pl_module.lr)
        for name, value in scalars.items():
            pl_module.log(f"test/{name}", value.float())

    def _along(self, distance: Tensor, dim: int, lr: float) -> dict[str, Tensor]:
        steps = torch.arange(len(distance)) * self.every
        limit = odd_target_path(dim, lr, int(steps[-1]))[0][steps]
        late = (steps >= self.window[0]) & (steps <= self.window[1])
        scalars = {
            "ode_gap": (distance - limit).abs().max() / limit[0],
            "bound_ratio": (distance / odd_target_bound(dim, lr, int(steps[-1]))[steps]).max(),
        }
        if late.sum() >= 2:
            t, log = lr * steps[late].double(), distance[late].log()
            scalars["late_rate"] = -torch.cov(torch.stack([t, log]))[0, 1] / t.var()
        return scalars

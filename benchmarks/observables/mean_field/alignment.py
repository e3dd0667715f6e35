"""What is measured along the training on a low-dimensional target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from benchmarks.observables.steps import stepped
from datamodules import AngularSamples, LowDimensionalTarget
from zoo.mean_field import AngularDynamics, TwoLayerReLU

CURVES = ("mass_plus", "mass_minus", "angle_plus", "angle_minus")


class Alignment(pl.Callback):
    """Follows the neurons' masses c_j = a_j ||w_j|| and their angles theta_j to the subspace H of the target.

    Every `every` steps, from step 0 on, it records of the neurons of either sign

        mass_plus,  mass_minus     tau = (1/m) sum |c_j|
        angle_plus, angle_minus    sum |c_j| theta_j / sum |c_j|

    and at the end it logs each of them at the steps `at` that were reached, as `test/mass_plus_at_500`. It serves a
    TwoLayerReLU on a LowDimensionalTarget and an AngularDynamics on AngularSamples alike.

    Raises ValueError for every < 1, for steps that are no multiples of it, and for another model or another target.
    """

    per_replica = True

    def __init__(self, every: int = 20, at: Sequence[int] = (100, 500, 1000, 2000)) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        if missed := [step for step in at if step < 0 or step % every]:
            raise ValueError(f"at holds steps that are multiples of every = {every}, got {missed[0]}")
        self.every, self.at = every, list(at)

    def refusal(self, model: pl.LightningModule, data: pl.LightningDataModule) -> str:
        """Why this model and data cannot be followed; nothing where they can."""
        if isinstance(model, AngularDynamics):
            return "" if isinstance(data, AngularSamples) else _wrong(model, data, "AngularSamples")
        if isinstance(model, TwoLayerReLU):
            return "" if isinstance(data, LowDimensionalTarget) else _wrong(model, data, "LowDimensionalTarget")
        return f"angles to a subspace are those of TwoLayerReLU and AngularDynamics, not of {type(model).__name__}"

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if reason := self.refusal(pl_module, trainer.datamodule):  # type: ignore[attr-defined]
            raise ValueError(reason)
        self.target_dim = trainer.datamodule.target_dim  # type: ignore[attr-defined]
        if trainer.global_step == 0:
            self._measure(pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if stepped(trainer, batch_idx) and trainer.global_step % self.every == 0:
            self._measure(pl_module)

    def _measure(self, module: Any) -> None:
        with torch.no_grad():
            masses, angles = module.masses(), module.angles(self.target_dim)
            for sign, name in ((1, "plus"), (-1, "minus")):
                own = (sign * masses).clamp(min=0)
                module.record(f"mass_{name}", own.mean())
                module.record(f"angle_{name}", own @ angles / own.sum().clamp(min=torch.finfo(own.dtype).tiny))

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        recorded = pl_module.recorded
        for step in self.at:
            for name in CURVES:
                if step // self.every < len(recorded.get(name, ())):
                    pl_module.log(f"test/{name}_at_{step}", recorded[name][step // self.every])


class Profile(pl.Callback):
    """Follows the function of a network along a direction of no effect on the target, and what its layers conserve.

    At the steps `at` that are reached it records `profile`, f(u + r e) at the hundred r from 0 to 5, where the unit
    vectors u and e are the first coordinate axis of the target's subspace H and of its complement: ||x_H|| is 1 all
    along. At the end it logs `test/rise_at_100` = |f(u + 5 e) - f(u)| at that step, of each; and

        test/imbalance     max_j | a_j^2 - ||w_j||^2 |, 0 at the start and conserved by gradient flow

    Raises ValueError for steps below 0 or named twice, another model than TwoLayerReLU, another target than
    LowDimensionalTarget, and one of all coordinates.
    """

    per_replica = True

    def __init__(self, at: Sequence[int] = (0, 20, 100, 200, 1000)) -> None:
        if sorted(set(at)) != sorted(at) or min(at, default=0) < 0:
            raise ValueError(f"at holds different steps from 0 on, got {list(at)}")
        self.at = list(at)

    def refusal(self, model: pl.LightningModule, data: pl.LightningDataModule) -> str:
        """Why this model and data cannot be followed; nothing where they can."""
        if not isinstance(model, TwoLayerReLU):
            return f"a profile is a function of all inputs, as TwoLayerReLU is and {type(model).__name__} is not"
        if not isinstance(data, LowDimensionalTarget):
            return _wrong(model, data, "LowDimensionalTarget")
        return "" if data.target_dim < data.dim else "no direction is left that has no effect on the target"

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if reason := self.refusal(pl_module, data):
            raise ValueError(reason)
        self.points = line(data.dim, data.target_dim).to(pl_module.w)
        if trainer.global_step == 0:
            self._measure(0, pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if stepped(trainer, batch_idx):
            self._measure(trainer.global_step, pl_module)

    def _measure(self, step: int, module: Any) -> None:
        if step in self.at:
            with torch.no_grad():
                module.record("profile", module(self.points))

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        profiles = pl_module.recorded.get("profile", ())
        for step, profile in zip(sorted(self.at), profiles, strict=False):
            pl_module.log(f"test/rise_at_{step}", (profile[-1] - profile[0]).abs())
        pl_module.log("test/imbalance", (pl_module.a.square() - pl_module.w.square().sum(1)).abs().max())


def line(dim: int, target_dim: int) -> Tensor:
    """The points u + r e of a Profile, r = 0 … 5; (100, dim)."""
    points = torch.zeros(100, dim)
    points[:, 0] = 1
    points[:, target_dim] = torch.linspace(0, 5, 100)
    return points


def _wrong(model: pl.LightningModule, data: pl.LightningDataModule, needed: str) -> str:
    return f"{type(model).__name__} is followed here on {needed}, not on {type(data).__name__}"

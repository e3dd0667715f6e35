"""What is measured of a network at the end of its training, between the rich and the kernel regime."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from datamodules import InterpolationPoints
from zoo.mean_field.tangent_kernel import linearised, minimum_norm_change


class ScalingPath(pl.Callback):
    """Compares a network trained on InterpolationPoints with its start, and with the tangent kernel's curve there.

    With theta_0 the parameters at the start and f_K the least-norm interpolant of the network linearised at theta_0,
    it logs

        test/movement          ||theta - theta_0|| / ||theta_0||
        test/kernel_distance   ||f - f_K|| / ||f_K||, in L2 on [-1, 1]
        test/total_variation   total variation of f' on [-1, 1]
        test/train_mse         mean((f(x) - y)^2) over the points

    Functions are taken on `grid` equidistant points, of which the points to interpolate are some where grid - 1 is a
    multiple of 10; f' is the slope between neighbours. The total variation of a piecewise linear f with kinks there
    is exact; where f' has many small jumps, as in the kernel regime, it is that of the grid, below f's own. Records f
    as `curve` and f_K as `interpolant`, (grid,) each.

    Raises ValueError for a grid of fewer than 3 points, and for other data.
    """

    per_replica = True

    def __init__(self, grid: int = 2001) -> None:
        if grid < 3:
            raise ValueError(f"grid must be at least 3, got {grid}")
        self.grid = grid
        self.start: dict[str, Tensor] = {}
        self.interpolant: Tensor | None = None

    def refusal(self, model: pl.LightningModule, data: pl.LightningDataModule) -> str:
        """Why this model and data cannot be compared; nothing where they can."""
        if not isinstance(data, InterpolationPoints):
            return f"the curve is drawn through InterpolationPoints, and {type(data).__name__} has none"
        return ""

    def state_dict(self) -> dict[str, Any]:
        return {"start": self.start, "interpolant": self.interpolant}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.start, self.interpolant = state_dict["start"], state_dict["interpolant"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if reason := self.refusal(pl_module, data):
            raise ValueError(reason)
        if self.interpolant is None:  # a training that goes on has brought them along
            self.start = {name: p.detach().clone() for name, p in pl_module.named_parameters()}
            change = minimum_norm_change(pl_module, *data.tensors("train"))
            self.interpolant = linearised(pl_module, data.inputs(self._points(pl_module)), change)

    def _points(self, module: Any) -> Tensor:
        return torch.linspace(-1, 1, self.grid, dtype=torch.float64, device=module.device)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        assert self.interpolant is not None, "a test follows a training"
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        x, y = (tensor.to(next(pl_module.parameters()).dtype) for tensor in data.tensors("test"))
        curve = pl_module(data.inputs(self._points(pl_module)).to(x)).double()
        reference = self.interpolant.to(curve)
        pl_module.record("curve", curve)
        pl_module.record("interpolant", reference)
        scalars = {
            "movement": self._movement(pl_module),
            "kernel_distance": (curve - reference).norm() / reference.norm(),
            "total_variation": curve.diff(n=2).abs().sum() * (self.grid - 1) / 2,
            "train_mse": (pl_module(x) - y).square().mean(),
        }
        for name, value in scalars.items():
            pl_module.log(f"test/{name}", value)

    def _movement(self, module: Any) -> Tensor:
        moved = [(p - self.start[name].to(p)).norm() for name, p in module.named_parameters()]
        whole = [self.start[name].to(p).norm() for name, p in module.named_parameters()]
        return torch.stack(moved).norm() / torch.stack(whole).norm()

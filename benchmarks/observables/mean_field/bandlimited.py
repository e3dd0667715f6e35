"""How well a function of one variable is approximated."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from datamodules import ThreeBumps


class Approximation(pl.Callback):
    """Measures a fit to ThreeBumps on its whole test grid.

    It logs `test/rmse` = sqrt(mean((f(x) - y)^2)) and records every `every`-th value of f as `fit`.

    Raises ValueError for every < 1, and for other data.
    """

    per_replica = True

    def __init__(self, every: int = 20) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self.every = every

    def refusal(self, model: pl.LightningModule, data: pl.LightningDataModule) -> str:
        """Why this data cannot be measured on; nothing where they can."""
        if not isinstance(data, ThreeBumps):
            return f"the fit is measured on the grid of ThreeBumps, and {type(data).__name__} has none"
        return ""

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if reason := self.refusal(pl_module, trainer.datamodule):  # type: ignore[attr-defined]
            raise ValueError(reason)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        x, y = data.tensors("test")
        fit = pl_module(x)
        pl_module.record("fit", fit[:: self.every])
        pl_module.log("test/rmse", (fit - y).square().mean().sqrt())

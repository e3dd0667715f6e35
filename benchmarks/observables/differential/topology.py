"""Where a flow takes its points: for what a flow can and cannot do."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

SHOWN = 400  # points that are recorded
TIMES = 21  # moments at which they are recorded


class Flow(pl.Callback):
    """Follows the test's points along a model that has `paths`, and records some of them.

    At the end of the test it logs, for points on a line, test/order: the share of neighbours that are in the same order
    at the end, by their first coordinate, in double precision: where a flow draws them together, single precision would
    make neighbours equal. It records `paths` (T, N, d) at 21 moments and `targets` (N,).
    """

    per_replica = True

    def refusal(self, model: Any, data: pl.LightningDataModule) -> str:
        """Why there is no flow to follow; nothing where there is one."""
        return "" if hasattr(model, "paths") else f"{type(model).__name__} has no paths"

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        x, y = data.held_out("test")
        if x.shape[1] == 1:
            pl_module.log("test/order", order(pl_module, x))
        every = max(1, len(x) // SHOWN)
        pl_module.record("paths", pl_module.paths(x[::every], [k / (TIMES - 1) for k in range(TIMES)]))
        pl_module.record("targets", y[::every, 0])


def order(module: Any, x: Tensor) -> Tensor:
    """The share of neighbours on a line, (N, 1), whose order the flow keeps."""
    dtype = module.dtype
    end = module.double().paths(x.double().sort(0).values, (0.0, 1.0))[-1, :, 0]
    module.to(dtype)  # as it was: what was rounded to it once is not changed by that
    return (end.diff() > 0).float().mean()

"""What a model tells of a series, kept for a picture."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch

SHOWN = 4  # test series that are recorded


class Told(pl.Callback):
    """Records the first test series as they are, (SHOWN, T, C) and times (SHOWN, T), and as a model tells them.

    For models whose output has the shape of the series, and so not for data with classes.
    """

    per_replica = True

    def refusal(self, model: pl.LightningModule, data: Any) -> str:
        """Why there is nothing to record; nothing where there is."""
        return (
            f"{type(data).__name__} has classes, and no series to tell" if "num_classes" in data.spec.arguments else ""
        )

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        values, mask, times = (tensor[:SHOWN] for tensor in data.tensors("test")[:3])
        pl_module.record("values", values)
        pl_module.record("times", times)
        pl_module.record("told", pl_module(values, mask, times))

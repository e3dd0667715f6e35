"""What a classifier of irregular series thinks along the way."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch

SHOWN = 32  # test series that are followed


class AlongTheWay(pl.Callback):
    """Records, for the first test series, what they are and the logits that each knot's hidden state would give.

    At the end of the test: `values`, `mask` and `times` as in a batch, `logits` (K + 1, N, classes) and `labels` (N,).
    For models that have `states` and `readout`, and data modules whose batch is (values, mask, times, labels).
    """

    per_replica = True

    def refusal(self, model: pl.LightningModule, data: Any) -> str:
        """Why there is nothing to record; nothing where there is."""
        if not (hasattr(model, "states") and hasattr(model, "readout")):
            return f"{type(model).__name__} has no hidden states along a series"
        return "" if len(data.spec.batch) == 4 else f"{type(data).__name__} has no irregular series"

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        values, mask, times, labels = (tensor[:SHOWN] for tensor in data.tensors("test"))
        logits = pl_module.readout(pl_module.states(values, mask, times))
        for name, array in {"values": values, "mask": mask, "times": times, "logits": logits, "labels": labels}.items():
            pl_module.record(name, array)

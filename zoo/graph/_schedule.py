"""The schedule of learning rates that models of graphs share."""

from __future__ import annotations

from typing import Any

import torch

from zoo._module import ZooModule


def cosine(model: ZooModule, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What Lightning is told to let a rate fall by a cosine to 0, at the last step of the model's training."""
    steps = max(int(model.trainer.estimated_stepping_batches), 1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

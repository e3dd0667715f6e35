"""When a callback that watches optimiser steps is to look."""

from __future__ import annotations

import lightning.pytorch as pl


def stepped(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Whether a batch ended an optimiser step: of several whose gradients are accumulated, the last one does."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch

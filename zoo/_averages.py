"""Averages over an epoch, added to as fast as a small model steps."""

from __future__ import annotations

from collections.abc import Mapping

import lightning.pytorch as pl
from torch import Tensor


def add_to_averages(module: pl.LightningModule, values: Mapping[str, Tensor], weight: int) -> bool:
    """Adds to averages that `module.log` has begun in this epoch; says whether all of them were there.

    `log` itself checks and copies so much that four logged numbers take longer than a small model's step.
    """
    results = module.trainer._results
    if results is None or module._current_fx_name is None:
        return False
    suffix = "" if results.dataloader_idx is None else f".{results.dataloader_idx}"
    averages = [results.get(f"{module._current_fx_name}.{name}{suffix}") for name in values]
    begun = [average for average in averages if average is not None and not average.has_reset]
    if len(begun) < len(averages):
        return False
    for average, value in zip(begun, values.values(), strict=True):
        average.forward(value, weight)
    return True

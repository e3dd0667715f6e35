"""How many networks have to be averaged until their mean is exactly right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from datamodules import Permutation
from zoo.mean_field import InfiniteReLUEnsemble, ReLUEnsemble


class EnsembleSize(pl.Callback):
    """Averages one network after another and counts the test inputs that the mean has exactly right, bit for bit.

    At the end it records `exact`, the share of test inputs for 1, 2, …, `models` networks (fewer where the ensemble has
    fewer), and logs for every share s in `shares`

        test/models_S    the least number of networks that has a share s right, S = 100 s

    A share that is never reached is not logged. A bit is read as one where the mean is positive. Random numbers come
    from the data's seed.

    Raises ValueError for models < 1, a share outside (0, 1], another model and other data.
    """

    per_replica = True

    def __init__(self, models: int = 1000, shares: Sequence[float] = (0.9, 0.999)) -> None:
        if models < 1:
            raise ValueError(f"models must be at least 1, got {models}")
        if bad := [share for share in shares if not 0 < share <= 1]:
            raise ValueError(f"shares must lie in (0, 1], got {bad[0]}")
        self.models, self.shares = models, tuple(shares)

    def refusal(self, model: pl.LightningModule, data: pl.LightningDataModule) -> str:
        """Why this model and data cannot be measured; nothing where they can."""
        if not isinstance(data, Permutation):
            return f"exactness is that of the bits of Permutation, and {type(data).__name__} has none"
        if not isinstance(model, InfiniteReLUEnsemble | ReLUEnsemble):
            return f"networks are drawn from an InfiniteReLUEnsemble or a ReLUEnsemble, not from {type(model).__name__}"
        return ""

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if reason := self.refusal(pl_module, data):
            raise ValueError(reason)
        curve = self._curve(pl_module, data)
        pl_module.record("exact", curve)
        for share in self.shares:
            if len(reached := (curve >= share).nonzero()):
                pl_module.log(f"test/models_{100 * share:g}", 1.0 + reached[0, 0])

    def _curve(self, module: Any, data: Permutation) -> Tensor:
        """The share of exact test inputs by the number of networks, float64: 171 of 190 are 0.9 in it."""
        x, bits = (tensor.to(module.dtype) for tensor in data.tensors("test"))
        generator = torch.Generator(x.device).manual_seed(data.seed)
        total, shares = torch.zeros_like(bits), []
        for outputs in module.predictors(x, self.models, generator):
            sums = total + outputs.cumsum(0)
            total = sums[-1]
            shares.append(((sums > 0) == (bits > 0.5)).all(-1).double().mean(-1))
        return torch.cat(shares)

"""What a representation that many tasks share is worth for new ones."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from benchmarks.observables.steps import stepped
from datamodules import SignPatternTasks
from zoo.mean_field import MultiTaskReLU


class Transfer(pl.Callback):
    """Follows the first layer of a MultiTaskReLU on SignPatternTasks, and probes it with new tasks at the end.

    Every `every` steps it records `alignment`, the share of ||W||^2 in the directions that labels depend on. It logs

        test/alignment        that share at the end
        test/probe_accuracy   accuracy of ridge regressions on the features, averaged over the data's new tasks

    Raises ValueError for every < 1, a ridge penalty of zero or less, and for another model or other data.
    """

    per_replica = True

    def __init__(self, every: int = 50, penalty: float = 10.0) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        if not penalty > 0:
            raise ValueError(f"penalty must be positive, got {penalty}")
        self.every, self.penalty = every, penalty

    def refusal(self, model: pl.LightningModule, data: pl.LightningDataModule) -> str:
        """Why this model and data cannot be followed; nothing where they can."""
        if not isinstance(data, SignPatternTasks):
            return f"transfer is to the new tasks of SignPatternTasks, and {type(data).__name__} has none"
        if not isinstance(model, MultiTaskReLU):
            return f"transfer is of the features of MultiTaskReLU, not of {type(model).__name__}"
        return ""

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if reason := self.refusal(pl_module, data):
            raise ValueError(reason)
        self._measure(pl_module, data)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if stepped(trainer, batch_idx) and trainer.global_step % self.every == 0:
            self._measure(pl_module, trainer.datamodule)  # type: ignore[attr-defined]

    def _measure(self, module: Any, data: SignPatternTasks) -> None:
        with torch.no_grad():
            module.record("alignment", module.alignment(data.directions))

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        (x, y), (test_x, test_y) = data.probe()
        x, test_x = x.to(pl_module.first.weight), test_x.to(pl_module.first.weight)
        margins = test_y * ridge(pl_module.features(x), y, pl_module.features(test_x), self.penalty)
        pl_module.log("test/alignment", pl_module.alignment(data.directions))
        pl_module.log("test/probe_accuracy", (margins > 0).float().mean())


def ridge(features: Tensor, labels: Tensor, test_features: Tensor, penalty: float) -> Tensor:
    """Predictions of ridge regressions on standardised features with an intercept, for all columns of labels at once.

        min_B,c ||Y - Z B - c||^2 + penalty ||B||^2

    Z are the features less their mean, over their standard deviation (constant ones count as zero). Shapes: (N, m),
    (N, T) and (M, m) give (M, T), float64.
    """
    features, labels, test_features = features.double(), labels.double(), test_features.double()
    mean, deviation = features.mean(0), features.std(0, correction=0)
    inverse = torch.where(deviation > 0, 1 / deviation, 0.0)
    z, test_z = (features - mean) * inverse, (test_features - mean) * inverse
    centre = labels.mean(0)
    gram = z.T @ z + penalty * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    return test_z @ torch.linalg.solve(gram, z.T @ (labels - centre)) + centre

"""How well a classifier of two classes ranks: areas under two curves, over a whole split."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, binary_average_precision


class Ranking(pl.Callback):
    """Areas under the curves of the difference of logits, of class 1 to class 0, after each validation and the test.

        auroc   under the receiver operating characteristic: how often a sample of class 1 is ranked above one of class
                0, ties for a half; 1/2 by chance
        auprc   under precision over recall, as the average precision: the share of class 1 by chance

    Logged as `val/auroc`, `test/auroc`, … . A model or data module of other than two classes is refused; raises
    ValueError for a split whose labels are all equal, for which neither is defined, and for logits that are not finite.
    """

    per_replica = True

    def refusal(self, model: pl.LightningModule, data: Any) -> str:
        """Why there is nothing to rank; nothing where there is."""
        classes = data.spec.arguments.get("num_classes")
        return "" if classes == 2 else f"{type(data).__name__} has {classes or 'no'} classes, and a ranking two"

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self._log(trainer, pl_module, "val")

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._log(trainer, pl_module, "test")

    def _log(self, trainer: pl.Trainer, pl_module: Any, split: str) -> None:
        batch = trainer.datamodule.tensors(split)  # type: ignore[attr-defined]
        labels = batch[-1]
        if len(found := labels.unique()) < 2:
            raise ValueError(f"the labels of {split} are all {found.tolist()}: no area is defined; take a larger share")
        logits = pl_module(*pl_module.inputs(batch))
        if not logits.isfinite().all():
            raise ValueError(f"the logits of {split} are not finite: no ranking is defined; take a lower lr")
        for name, area in areas(logits[:, 1] - logits[:, 0], labels).items():
            pl_module.log(f"{split}/{name}", area)


def areas(score: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Both areas of scores (N,), any numbers, and labels (N,) of 0 and 1."""
    places = torch.unique(score, return_inverse=True)[1]  # logits may differ by less than their probabilities can
    ranks = places.double() / len(places)
    return {"auroc": binary_auroc(ranks, labels), "auprc": binary_average_precision(ranks, labels)}

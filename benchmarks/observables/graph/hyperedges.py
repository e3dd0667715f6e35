"""What is measured of models of hyperedges: how they rank them and what is none, and whether they find outsiders."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from benchmarks.observables.ranking import areas

BLOCK = 8192  # hyperedges that are looked at at once


class LinkPrediction(pl.Callback):
    """Areas under the curves of p over a whole split, after each validation and the test.

        auroc   how often a hyperedge has a greater p than what is none, ties for a half; 1/2 by chance
        auprc   average precision; by chance the share of hyperedges, 1/6

    Logged as `val/auroc`, `test/auroc`, … . A data module without hyperedges is refused.
    """

    per_replica = True

    def refusal(self, model: pl.LightningModule, data: Any) -> str:
        """Why there is nothing to rank; nothing where there is."""
        return _without_hyperedges(data)

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self._log(trainer, pl_module, "val")

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._log(trainer, pl_module, "test")

    def _log(self, trainer: pl.Trainer, pl_module: Any, split: str) -> None:
        hyperedges, labels = trainer.datamodule.tensors(split)  # type: ignore[attr-defined]
        p = torch.cat([pl_module(part) for part in hyperedges.split(BLOCK)])
        for name, area in areas(p, labels).items():
            pl_module.log(f"{split}/{name}", area)


class Outsiders(pl.Callback):
    """How often a model finds the node of a test hyperedge that was put in place of another, by the smallest p_i.

        outsider   the share found
        chance     the mean of 1 / k over the sizes k of these hyperedges, what a guess finds

    Logged as `test/outsider` and `test/chance`. A model that finds none (`outsider`) and data without are refused.
    """

    per_replica = True

    def refusal(self, model: pl.LightningModule, data: Any) -> str:
        """Why there is no outsider to find; nothing where there is."""
        if not hasattr(model, "outsider"):
            return f"{type(model).__name__} finds no outsider: it has no number for each node"
        return _without_hyperedges(data)

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        replaced: tuple[Tensor, Tensor] = data.replaced("test")
        hyperedges, places = (tensor.to(pl_module.device) for tensor in replaced)
        found = torch.cat([pl_module.outsider(part) for part in hyperedges.split(BLOCK)])
        pl_module.log("test/outsider", (found == places).float().mean())
        pl_module.log("test/chance", (1 / (hyperedges >= 0).sum(1)).mean())


def _without_hyperedges(data: Any) -> str:
    return "" if hasattr(data, "replaced") else f"{type(data).__name__} has no hyperedges"

"""How large a residual network's weights are, and how much they change from layer to layer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor


class DepthScaling(pl.Callback):
    """Measures a trained model's weights along its layers, whose powers of the depth tell which limit it has.

    A model names the sequences W_1 … W_L in its method `along_depth`. Of each NAME are logged, with Frobenius norms,

        test/NAME_max           max_k ||W_k||
        test/NAME_increment     max_k ||W_{k+1} - W_k||
        test/NAME_root_sum      sqrt(sum_k ||W_k||^2)
        test/NAME_sum           ||sum_k W_k||
        test/NAME_roughness     increment / max, which falls as 1 / L where W_k is a smooth function of k / L
        test/NAME_spread        root_sum / max, which grows as sqrt(L) where all layers take part

    and recorded `NAME_norms` (L,), `NAME_increments` and `NAME_entry`, the first entry of each W_k. Increments are
    those between neighbours of one shape; a sum needs one shape of all. What there are no increments for, or no W_k
    other than 0, is not logged.

    A model without such sequences is refused before anything starts.

    Source: Cohen, Cont, Rossier and Xu, "Scaling properties of deep residual networks", ICML 2021, arXiv:2105.12245.
    """

    per_replica = True

    def refusal(self, model: pl.LightningModule, data: pl.LightningDataModule) -> str:
        """Why this model cannot be measured; nothing where it can."""
        return "" if hasattr(model, "along_depth") else f"{type(model).__name__} has no sequences along_depth"

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        for name, weights in pl_module.along_depth().items():
            for what, value in sizes(weights).items():
                pl_module.log(f"test/{name}_{what}", value)
            pl_module.record(f"{name}_norms", torch.stack([w.norm() for w in weights]))
            pl_module.record(f"{name}_increments", increments(weights))
            pl_module.record(f"{name}_entry", torch.stack([w.flatten()[0] for w in weights]))


def increments(weights: Sequence[Tensor]) -> Tensor:
    """||W_{k+1} - W_k|| for all neighbours of one shape."""
    found = [(b - a).norm() for a, b in pairwise(weights) if a.shape == b.shape]
    return torch.stack(found) if found else weights[0].new_zeros(0)


def sizes(weights: Sequence[Tensor]) -> dict[str, Tensor]:
    """What DepthScaling logs of a sequence, by the end of its name."""
    norms, steps = torch.stack([w.norm() for w in weights]), increments(weights)
    most, root_sum = norms.max(), norms.norm()
    found = {"max": most, "root_sum": root_sum}
    if len({w.shape for w in weights}) == 1:
        found["sum"] = torch.stack(list(weights)).sum(0).norm()
    if len(steps):
        found["increment"] = steps.max()
    if most > 0:
        found["spread"] = root_sum / most
        found |= {"roughness": found["increment"] / most} if len(steps) else {}
    return found

"""SNIP: the connections to which the loss of a first batch is sensitive are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
from torch import Tensor, nn

from zoo.sparse._masks import Masked, largest
from zoo.sparse._pruning import Pruning
from zoo.sparse._scoring import loss_gradients, no_step, undisturbed


class SNIP(Pruning):
    """Single-shot pruning before training, by connection sensitivity on the first training batch.

        L(c) = loss of the batch with weights c w,   s = |dL/dc| at c = 1,   that is |w dL/dw|

    The round(density N) weights of the largest s are kept, of all chosen layers together. The weights are those that
    training starts from, and the loss is the model's own, in training mode; statistics of batch norms, gradients and
    the random numbers to come are left as they were.

    Raises ValueError for a density outside (0, 1] and, before a training starts, for a model without a `step`, for
    layers that do not exist, and for weights that another method prunes already.

    Source: N. Lee, T. Ajanthan and P. Torr, "SNIP: single-shot network pruning based on connection sensitivity",
    ICLR 2019, arXiv:1810.02340. Deliberate differences: their scores are divided by the sum of all, which changes no
    mask, and their initial weights have a variance scaled to the layer (here: the model's own).
    """

    def __init__(self, density: float = 0.1, layers: Sequence[str] = ("*",)) -> None:
        super().__init__(density, layers)

    def refusal(self, model: nn.Module, data: pl.LightningDataModule) -> str:
        return super().refusal(model, data) or no_step(model)

    def first(self, masked: Masked, module: Any, batch: Any) -> None:
        masked.set(self.chosen(masked, module, batch))

    def chosen(self, masked: Masked, module: Any, batch: Any) -> dict[str, Tensor]:
        """The masks of the largest s."""
        return largest(connection_sensitivity(masked, module, batch), round(self.density * masked.size))


def connection_sensitivity(masked: Masked, module: Any, batch: Any) -> dict[str, Tensor]:
    """|w dL/dw| of each weight."""
    weights = masked.weights
    with undisturbed(module):
        gradients = loss_gradients(module, batch, weights)
    return {name: (weights[name] * gradient).detach().abs() for name, gradient in gradients.items()}

"""Fully connected ReLU networks on flattened inputs: LeNet-300-100 and its like."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import at_least, not_negative, positive
from zoo._module import ZooModule
from zoo._scores import scores


class FullyConnected(ZooModule):
    """A ReLU network of hidden layers on the flattened input; LeNet-300-100 for the default widths.

        h_0 = flatten(x),   h_l = relu(W_l h_{l-1} + b_l),   logits = W_L h_{L-1} + b_L

    Shapes: x is (N, …) with in_features numbers a sample, the logits are (N, num_classes). `step` gives cross-entropy
    and accuracy. Weights start as Kaiming-normal, biases at zero. Trained by SGD with momentum 0.9 at a constant rate
    unless a schedule is set. width_multiplier widens all hidden layers alike.

    Raises ValueError for a size below 1, for lr that is not positive, and for a negative weight_decay.

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998, section
    III.C.5, with ReLU in place of the sigmoidal units and without preprocessing of their own.
    """

    vectorizes = True
    tiny = {"widths": (8, 6)}

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        widths: Sequence[int] = (300, 100),
        lr: float = 0.1,
        weight_decay: float = 0.0,
        width_multiplier: int = 1,
    ) -> None:
        super().__init__()
        at_least(1, in_features=in_features, num_classes=num_classes, widths=widths, width_multiplier=width_multiplier)
        positive(lr=lr)
        not_negative(weight_decay=weight_decay)
        self.save_hyperparameters()
        sizes = [in_features, *(width_multiplier * width for width in widths), num_classes]
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes))
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        h = x.flatten(1)
        for layer in self.layers[:-1]:
            h = F.relu(layer(h))
        return self.layers[-1](h)

    def step(self, batch: Any) -> dict[str, Tensor]:
        x, labels = batch
        return scores(self(x), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        lr, weight_decay = self.hparams["lr"], self.hparams["weight_decay"]
        return torch.optim.SGD(self.parameters(), lr=lr, momentum=0.9, weight_decay=weight_decay)

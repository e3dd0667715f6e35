"""MeanEmbedding: whether nodes form a hyperedge, by the mean of what is known of each: a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import at_least
from zoo.graph._hyperedges import HyperedgeModel, mean_over


class MeanEmbedding(HyperedgeModel):
    """A perceptron on the mean of the nodes' embeddings: p = sigmoid(FFN(mean of x_i)).

    The embeddings are free parameters, FFN has one hidden layer of `width` with tanh, and dropout before its last
    layer. All is trained by Adam. Shapes, batches and errors are those of `zoo.graph._hyperedges.HyperedgeModel`;
    raises ValueError for a width below 1 and a dropout outside [0, 1), too.

    Source: M. Zaheer et al., "Deep sets", NeurIPS 2017, arXiv:1703.06114: a function of a set by a sum over its
    members.
    """

    tiny: ClassVar[dict[str, Any]] = {"width": 8}

    def __init__(
        self,
        nodes: Sequence[int],
        hyperedges: int,
        max_size: int = 3,
        width: int = 64,
        dropout: float = 0.4,
        positive_weight: float = 5.0,
        lr: float = 1e-3,
    ) -> None:
        super().__init__(nodes, hyperedges, max_size, positive_weight, lr)
        at_least(1, width=width)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
        self.save_hyperparameters()
        self.embedding = nn.Parameter(torch.randn(sum(nodes), width))
        self.head = set_head(width, dropout)

    def forward(self, hyperedges: Tensor) -> Tensor:
        x = F.embedding(hyperedges.clamp(min=0), self.embedding)
        return self.head(mean_over(x, hyperedges))[:, 0].sigmoid()


def set_head(width: int, dropout: float) -> nn.Sequential:
    """From the mean of embeddings to one number."""
    return nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Dropout(dropout), nn.Linear(width, 1))

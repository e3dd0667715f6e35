"""HypergraphConvolution: embeddings of nodes averaged along the training hyperedges: a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import at_least
from zoo.graph._hyperedges import HyperedgeModel, mean_over
from zoo.graph.mean_embedding import set_head


class HypergraphConvolution(HyperedgeModel):
    """Two hypergraph convolutions on free embeddings, and a perceptron on the mean over the candidate's nodes.

        X' = tanh(D^-1 H B^-1 H^T X W + b),   p = sigmoid(FFN(mean of x''_i))

    H is the incidence matrix of the training hyperedges, kept as a buffer, D and B the degrees of nodes and hyperedges;
    the convolutions are torch_geometric's. A training hyperedge is thereby seen by the nodes that are to tell it, which
    a new one is not. Trained by Adam. Shapes, batches and errors are those of
    `zoo.graph._hyperedges.HyperedgeModel`; raises ValueError for a width below 1 and a dropout outside [0, 1), too.

    Source: S. Bai, F. Zhang and P. H. S. Torr, "Hypergraph convolution and hypergraph attention", Pattern Recognition
    110, 2021, arXiv:1901.08150. The perceptron is that of MeanEmbedding.
    """

    tiny: ClassVar[dict[str, Any]] = {"width": 8}
    members: Tensor

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
        from torch_geometric.nn import HypergraphConv

        self.embedding = nn.Parameter(torch.randn(sum(nodes), width))
        self.convolutions = nn.ModuleList(HypergraphConv(width, width) for _ in range(2))
        self.head = set_head(width, dropout)
        self.register_buffer("members", torch.full((hyperedges, max_size), -1))

    @torch.no_grad()
    def take(self, hyperedges: Tensor) -> None:
        self.members.fill_(-1)
        self.members[: hyperedges.shape[0], : hyperedges.shape[1]] = hyperedges

    def convolved(self) -> Tensor:
        """The nodes' embeddings (total, width); what is none is a node of its own, in a hyperedge of its own."""
        total, (count, size) = self.total, self.members.shape
        row = torch.arange(count, device=self.members.device).repeat_interleave(size)
        member = self.members.flatten()
        index = torch.stack([torch.where(member < 0, total, member), torch.where(member < 0, count, row)])
        x = F.pad(self.embedding, (0, 0, 0, 1))
        for convolution in self.convolutions:
            x = convolution(x, index, num_edges=count + 1).tanh()
        return x[:total]

    def forward(self, hyperedges: Tensor) -> Tensor:
        x = F.embedding(hyperedges.clamp(min=0), self.convolved())
        return self.head(mean_over(x, hyperedges))[:, 0].sigmoid()

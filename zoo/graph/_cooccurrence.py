"""How often nodes share a hyperedge, and an autoencoder of that which never holds a zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def ordered(hyperedges: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """All choices of `count` different places of each hyperedge in order, (count, …, E), and whether all have nodes."""
    places = torch.cartesian_prod(*[torch.arange(hyperedges.shape[1], device=hyperedges.device)] * count)
    ordered = places.sort(1).values
    places = places[(ordered[:, 1:] != ordered[:, :-1]).all(1)]
    chosen = hyperedges.T[places.T]
    return chosen, (chosen >= 0).all(0)


class CooccurrenceEncoder(nn.Module):
    """Embeddings of nodes from the rows of their co-occurrences, by an autoencoder with tied weights for each type.

        a_ij = (hyperedges with i and j) / (most of any i of the same type with j)
        x_i  = LayerNorm(h_i),   h_i = tanh(sum_j W_j a_ij + b),   a'_ij = W_j . h_i + c_j

    j are the nodes of the other types or, where there is one type, all others. W, b, c and the norm belong to the type
    of i; b and c begin as torch's own linear layers of these sizes do. In training a_ij is dropped at the rate
    `dropout`. Only entries a_ij > 0 are held, at most `pairs` of them, and only they are to be told again:

        error_i = mean over j with a_ij > 0 of (a'_ij - a_ij)^2
    """

    source: Tensor
    column: Tensor
    value: Tensor
    kind: Tensor

    def __init__(self, nodes: Sequence[int], pairs: int, features: int, dropout: float) -> None:
        super().__init__()
        self.nodes, self.features, self.dropout = tuple(nodes), features, dropout
        self.starts = [0, *accumulate(nodes)]
        self.columns = [sum(nodes) - size for size in nodes] if len(nodes) > 1 else list(nodes)
        pairs = min(pairs, sum(size * count for size, count in zip(nodes, self.columns, strict=True)))
        self.register_buffer("source", torch.zeros(pairs, dtype=torch.int64))
        self.register_buffer("column", torch.zeros(pairs, dtype=torch.int64))
        self.register_buffer("value", torch.zeros(pairs))
        kinds = torch.arange(len(nodes)).repeat_interleave(torch.tensor(nodes), output_size=sum(nodes))
        self.register_buffer("kind", kinds, persistent=False)
        bounds = [1 / math.sqrt(max(count, 1)) for count in self.columns]
        weights = [torch.empty(c, features).uniform_(-b, b) for c, b in zip(self.columns, bounds, strict=True)]
        self.weight = nn.Parameter(torch.cat(weights))
        self.bias = nn.Parameter(torch.stack([torch.empty(features).uniform_(-b, b) for b in bounds]))
        self.told_bias = nn.Parameter(torch.empty(sum(self.columns)).uniform_(-1, 1) / math.sqrt(features))
        self.gain = nn.Parameter(torch.ones(len(nodes), features))
        self.shift = nn.Parameter(torch.zeros(len(nodes), features))

    @torch.no_grad()
    def take(self, hyperedges: Tensor) -> None:
        """Sets the co-occurrences by hyperedges (E, k)."""
        total = sum(self.nodes)
        pairs, present = ordered(hyperedges, 2)
        source, other = pairs[:, present]
        keys, counts = (source * total + other).unique(return_counts=True)
        source, other = keys // total, keys % total
        kind = self.kind[source]
        begins = torch.tensor([0, *accumulate(self.columns)][:-1], device=source.device)
        column = begins[kind] + other
        if len(self.nodes) > 1:  # numbers from those of the own type on move up to the place of these
            sizes, starts = (torch.tensor(x, device=source.device) for x in (self.nodes, self.starts[:-1]))
            column -= torch.where(other >= starts[kind], sizes[kind], 0)
        most = counts.new_zeros(sum(self.columns)).scatter_reduce(0, column, counts, "amax")
        for buffer, found in ((self.source, source), (self.column, column), (self.value, counts / most[column])):
            buffer.zero_()
            buffer[: len(found)] = found

    def hidden(self) -> tuple[Tensor, Tensor]:
        """h (total, features), and W_j of each entry (pairs, features)."""
        weight = F.embedding(self.column, self.weight)
        given = F.dropout(self.value, self.dropout, self.training)
        summed = self.weight.new_zeros(len(self.kind), self.features).index_add(0, self.source, given[:, None] * weight)
        return (summed + self.bias[self.kind]).tanh(), weight

    def normed(self, h: Tensor) -> Tensor:
        """x (total, features) of h."""
        return F.layer_norm(h, (self.features,)) * self.gain[self.kind] + self.shift[self.kind]

    def error(self, h: Tensor, weight: Tensor, hyperedges: Tensor) -> Tensor:
        """The sum over types of the mean of error_i over the nodes that hyperedges (N, k) name, as often as they do."""
        held = (self.value > 0).to(h)
        told = (
            torch.linalg.vecdot(weight, F.embedding(self.source, h))
            + F.embedding(self.column, self.told_bias[:, None])[:, 0]
        )
        zeros = h.new_zeros(len(self.kind))
        squared = zeros.index_add(0, self.source, held * (told - self.value).square())
        errors = squared / zeros.index_add(0, self.source, held).clamp(min=1)
        named = (hyperedges >= 0).to(h)
        times = zeros.index_add(0, hyperedges.clamp(min=0).flatten(), named.flatten())
        of_type = h.new_zeros(2, len(self.nodes)).index_add(1, self.kind, torch.stack([times * errors, times]))
        return (of_type[0] / of_type[1].clamp(min=1)).sum()

"""The exchangeable parts of networks on curved spaces: transforms, weights, aggregations, activations, decoders."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.graph._spaces import FARTHEST


class Links(NamedTuple):
    """Which nodes a node hears: itself and its neighbours, as sources and targets (E + M,) of M nodes."""

    source: Tensor
    target: Tensor
    nodes: int

    @classmethod
    def of(cls, edges: Tensor, nodes: int) -> Links:
        """Of edges (N, 2, E) of N graphs with `nodes` nodes each: one graph of N parts."""
        graphs = edges.shape[0]  # len would make it a constant of an exported model
        first = torch.arange(graphs, device=edges.device)[:, None] * nodes
        itself = torch.arange(graphs * nodes, device=edges.device)
        source, target = ((edges[:, end] + first).flatten() for end in (0, 1))
        return cls(torch.cat([source, itself]), torch.cat([target, itself]), graphs * nodes)

    def total(self, values: Tensor) -> Tensor:
        """Sums of values (E + M, …) over what each node hears, (M, …)."""
        return values.new_zeros(self.nodes, *values.shape[1:]).index_add(0, self.target, values)

    def mix(self, x: Tensor, weights: Tensor) -> Tensor:
        """sum_j w_ij x_j of x (M, d), (M, d)."""
        return self.total(weights[:, None] * x.index_select(0, self.source))

    def mean(self) -> Tensor:
        """The weights of a mean, (E + M,)."""
        heard = self.total(torch.ones_like(self.target, dtype=torch.get_default_dtype()))
        return heard.reciprocal().index_select(0, self.target)

    def softmax(self, scores: Tensor) -> Tensor:
        """exp(score) over its sum at the same target, (E + M,)."""
        most = scores.detach().new_zeros(self.nodes).scatter_reduce(0, self.target, scores.detach(), "amax")
        raised = (scores - most.index_select(0, self.target)).exp()
        return raised / self.total(raised).index_select(0, self.target)


class TangentTransform(nn.Module):
    """exp_0(W v) + b of v = log_0 x: in the stereographic model the same as the Moebius product W (x) x."""

    def __init__(self, in_features: int, out_features: int, dropout: float, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        nn.init.xavier_uniform_(self.weight, math.sqrt(2.0))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self.dropout = dropout

    def product(self, v: Tensor) -> Tensor:
        return F.linear(v, F.dropout(self.weight, self.dropout, self.training))

    def forward(self, space: Any, v: Tensor) -> Tensor:
        x = space.exp0(self.product(v))
        return x if self.bias is None else space.add(x, self.bias)


class CoordinateTransform(TangentTransform):
    """W x + b of the coordinates x of exp_0 v on the hyperboloid; x_0 follows from them."""

    def forward(self, space: Any, v: Tensor) -> Tensor:
        norm = space.root * torch.linalg.vector_norm(v, dim=-1, keepdim=True).clamp(min=1e-15)
        x = self.product(v) * (norm.clamp(max=FARTHEST).sinh() / norm)  # W commutes with a factor a row
        return space.point(x if self.bias is None else x + self.bias)


class MeanWeights(nn.Module):
    """1 over the number of nodes that a node hears."""

    def __init__(self, features: int) -> None:
        super().__init__()

    def forward(self, space: Any, x: Tensor, links: Links) -> Tensor:
        return links.mean().to(x.dtype)


class DistanceWeights(MeanWeights):
    """softmax_j of -d(x_i, x_j)."""

    def forward(self, space: Any, x: Tensor, links: Links) -> Tensor:
        return links.softmax(-space.distance(x.index_select(0, links.target), x.index_select(0, links.source)))


class ChordWeights(MeanWeights):
    """softmax_j of -|x_i - x_j|_L^2, on the hyperboloid."""

    def forward(self, space: Any, x: Tensor, links: Links) -> Tensor:
        return links.softmax(-space.chord(x.index_select(0, links.target), x.index_select(0, links.source)))


class TangentWeights(nn.Module):
    """softmax_j of LeakyReLU(a . [v_i, v_j]) with v = log_0 x."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.heard, self.hearing = nn.Linear(features, 1, bias=False), nn.Linear(features, 1, bias=False)

    def forward(self, space: Any, x: Tensor, links: Links) -> Tensor:
        v = space.log0(x)
        hearing, heard = self.hearing(v)[:, 0], self.heard(v)[:, 0]
        return links.softmax(F.leaky_relu(hearing[links.target] + heard[links.source], 0.2))


def at_origin(space: Any, x: Tensor, links: Links, weights: Tensor) -> Tensor:
    """exp_0 of sum_j w_ij log_0 x_j."""
    mixed: Tensor = space.exp0(links.mix(space.log0(x), weights))
    return mixed


def at_node(space: Any, x: Tensor, links: Links, weights: Tensor) -> Tensor:
    """exp_{x_i} of sum_j w_ij log_{x_i} x_j."""
    u = space.log(x.index_select(0, links.target), x.index_select(0, links.source))
    moved: Tensor = space.exp(x, links.total(weights[:, None] * u))
    return moved


def midpoint(space: Any, x: Tensor, links: Links, weights: Tensor) -> Tensor:
    """The weighted gyromidpoint or Lorentz centroid."""
    middle: Tensor = space.midpoint(x, lambda values: links.mix(values, weights))
    return middle


def in_tangents(space: Any, onto: Any, x: Tensor) -> Tensor:
    """exp_0 of relu(log_0 x), which may lead to a space of another curvature."""
    active: Tensor = onto.exp0(space.log0(x).relu())
    return active


def in_coordinates(space: Any, onto: Any, x: Tensor) -> Tensor:
    """The point whose coordinates are relu of those of x."""
    active: Tensor = onto.point(space.coordinates(x).relu())
    return active


TRANSFORMS: dict[str, type[TangentTransform]] = {"tangent": TangentTransform, "coordinates": CoordinateTransform}
WEIGHTS: dict[str, type[nn.Module]] = {
    "mean": MeanWeights,
    "distance": DistanceWeights,
    "chord": ChordWeights,
    "tangents": TangentWeights,
}
AGGREGATIONS = {"origin": at_origin, "node": at_node, "midpoint": midpoint}
ACTIVATIONS = {"tangents": in_tangents, "coordinates": in_coordinates}


def fermi_dirac(square: Tensor, radius: float, temperature: float) -> Tensor:
    """The log-odds (r - d^2) / t of a link: of the probability 1 / (exp((d^2 - r) / t) + 1) at squared distance d^2."""
    return (radius - square) / temperature


def area_under_curve(scores: Tensor, positive: Tensor) -> Tensor:
    """The share of pairs of a positive and a negative that the scores (P,) order rightly; a tie is half a pair.

    By ranks: of a group of equal scores, each has the mean of theirs.
    """
    ordered = scores.sort().values
    ranks = torch.searchsorted(ordered, scores) + torch.searchsorted(ordered, scores, right=True) + 1  # twice the rank
    count = positive.sum()
    above = (ranks * positive).sum().double() / 2 - count * (count + 1) / 2
    return above / (count * (len(scores) - count))

"""What models that tell whole graphs apart share: batches of padded graphs, the encoder, and the classifier."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import at_least, not_negative, one_of, positive
from zoo._module import ZooModule
from zoo.graph._neighbours import ENTRIES_PER_EDGE, check_edges

READOUTS = ("mean", "sum")


class Neighbours:
    """Sums over the neighbours in graphs with edges (B, 2, E) of sources and targets, -1 where there are fewer.

    Small graphs have a dense adjacency matrix each, of which one product serves all; large ones are one list of edges.
    """

    def __init__(self, edges: Tensor, nodes: int, like: Tensor) -> None:
        graphs, _, most = edges.shape
        self.nodes, self.dense = nodes, nodes**2 <= ENTRIES_PER_EDGE * most
        first = torch.arange(graphs, device=edges.device)[:, None] * nodes
        source, target = edges.unbind(1)
        there = source >= 0
        if self.dense:  # what is not there goes to an entry behind the last
            entry = torch.where(there, (first + target) * nodes + source, graphs * nodes**2).flatten()
            one = torch.ones_like(entry, dtype=like.dtype)
            flat = torch.zeros_like(like[:, 0, :1]).expand(-1, nodes**2).flatten()
            self.adjacency = F.pad(flat, (0, 1)).scatter_add(0, entry, one)[:-1].view(graphs, nodes, nodes)
        else:
            last = graphs * nodes
            self.source = torch.where(there, first + source, last).flatten()
            self.target = torch.where(there, first + target, last).flatten()

    def __call__(self, u: Tensor) -> Tensor:
        """sum_i A_ij u_i for every node j, of u (B, n, h)."""
        if self.dense:
            return self.adjacency @ u
        rows = F.pad(u.flatten(0, 1), (0, 0, 0, 1))
        total = torch.zeros_like(rows).index_add(0, self.target, rows[self.source])
        return total[:-1].view_as(u)


class Encoder(nn.Module):
    """h <- relu(MLP(h + sum of the neighbours' h)) at every node, a few times; z = the nodes' mean or sum of h."""

    def __init__(self, in_features: int, hidden_features: int, layers: int, readout: str) -> None:
        super().__init__()
        sizes = [in_features, *[hidden_features] * layers]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Linear(b, b)) for a, b in itertools.pairwise(sizes)
        )
        self.readout = readout

    def forward(self, x: Tensor, edges: Tensor, mask: Tensor) -> Tensor:
        there = mask[..., None].to(x.dtype)
        neighbours, h = Neighbours(edges, x.shape[1], x), x * there
        for layer in self.layers:
            h = layer(h + neighbours(h)).relu() * there
        z: Tensor = h.sum(1)
        return z / there.sum(1).clamp(min=1) if self.readout == "mean" else z


class GraphClassifier(ZooModule):
    """The class of a graph, linear in what an encoder makes of it.

    `forward` maps x (B, n, in_features), edges (B, 2, E), as (source, target) with -1 behind the last of a graph, and
    mask (B, n), the nodes that are there, to logits (B, num_classes). A batch is (x, edges, mask, labels, …). `predict`
    raises ValueError for edges to nodes that are not there, that come twice or begin where they end. Raises ValueError
    for a size below 1, another readout, an lr that is not positive and a negative weight decay.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        hidden_features: int,
        layers: int,
        readout: str,
        lr: float,
        weight_decay: float,
    ) -> None:
        super().__init__()
        at_least(1, in_features=in_features, num_classes=num_classes, hidden_features=hidden_features, layers=layers)
        one_of(READOUTS, readout=readout)
        positive(lr=lr)
        not_negative(weight_decay=weight_decay)
        self.lr, self.weight_decay = lr, weight_decay
        self.encoder = Encoder(in_features, hidden_features, layers, readout)
        self.head = nn.Linear(hidden_features, num_classes)

    def forward(self, x: Tensor, edges: Tensor, mask: Tensor) -> Tensor:
        out: Tensor = self.head(self.encoder(x, edges, mask))
        return out

    def inputs(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return batch[:3]

    def complete(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        if not {"x", "edges"} <= given.keys():
            return given
        x, edges = given["x"], given["edges"]
        if x.ndim != 3:
            raise ValueError(f"expected x of shape (B, n, features), got {tuple(x.shape)}")
        mask = given.get("mask", torch.ones(x.shape[:2], dtype=torch.bool, device=x.device))
        check(edges, mask)
        return {"x": x, "edges": edges, "mask": mask}

    def step(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        logits, labels = self(*self.inputs(batch)), batch[3]
        return {"loss": F.cross_entropy(logits, labels), "accuracy": (logits.argmax(1) == labels).float().mean()}

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.lr, weight_decay=self.weight_decay)


def check(edges: Tensor, mask: Tensor) -> None:
    """Raises ValueError for edges that are not (B, 2, E) of nodes that are there, or -1 at both ends."""
    if edges.ndim != 3 or edges.shape[:2] != (len(mask), 2) or edges.is_floating_point():
        shape = f"({len(mask)}, 2, E)"
        raise ValueError(f"expected edges of whole numbers of shape {shape}, got {tuple(edges.shape)} of {edges.dtype}")
    nodes = mask.shape[1]
    known = (edges >= -1) & (edges < nodes)
    here = mask.bool().gather(1, edges.clamp(0, nodes - 1).flatten(1)).view_as(edges)
    wrong = ~known | ((edges >= 0) & ~here) | ((edges < 0) != (edges < 0).any(1, keepdim=True))
    if bool(wrong.any()):
        graph, _, number = wrong.nonzero()[0].tolist()
        ends = edges[graph, :, number].tolist()
        raise ValueError(
            f"edge {number} of graph {graph} goes from {ends[0]} to {ends[1]}: both ends are nodes that are there, "
            f"of 0 to {nodes - 1}, or both are -1"
        )
    for own in edges:
        check_edges(own[:, own[0] >= 0], nodes)

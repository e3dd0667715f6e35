"""Graphs of different sizes as one batch: nodes and edges padded to the most of any graph."""

from __future__ import annotations

import torch
from torch import Tensor

from datamodules._spec import Field


class Edges(Field):
    """Edges (2, E) of whole numbers, -1 where a graph has fewer; in examples between the first two nodes."""

    def example(self, batch_size: int, device: str) -> Tensor:
        drawn = super().example(batch_size, device)
        if device == "meta":
            return drawn
        generator = torch.Generator().manual_seed(0)
        there = torch.rand((batch_size, 1, self.shape[1]), generator=generator) < 0.8
        return torch.where(there.to(device), drawn, -1)


class Present(Field):
    """Which nodes are there; in examples all but the last, so that no graph is empty."""

    def example(self, batch_size: int, device: str) -> Tensor:
        if device == "meta":
            return super().example(batch_size, device)
        there = torch.ones((batch_size, *self.shape), dtype=self.dtype, device=device)
        there[:, -1] = False
        return there


def fields(nodes: int, edges: int, features: int, classes: int) -> tuple[Field, ...]:
    """Those of a batch (x, edges, mask, labels): (B, n, m), (B, 2, E) padded with -1, (B, n) and (B,)."""
    return (
        Field((nodes, features)),
        Edges((2, edges), torch.int64),
        Present((nodes,), torch.bool),
        Field((), torch.int64, classes),
    )


def padded(graph: Tensor, source: Tensor, target: Tensor, graphs: int, edges: int) -> Tensor:
    """Edges (graphs, 2, edges) of the lists of all graphs' edges, those of one graph in their order, and then -1."""
    counts = torch.bincount(graph, minlength=graphs)
    order = graph.argsort(stable=True)
    place = torch.arange(len(order)) - (counts.cumsum(0) - counts)[graph[order]]
    out = torch.full((graphs, 2, edges), -1, dtype=torch.int64)
    out[graph[order], :, place] = torch.stack([source, target], 1)[order]
    return out

"""What models of the dynamics on a network share: one graph a batch, and the loss on rates of change."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from zoo._checks import not_negative, positive
from zoo._module import ZooModule
from zoo.graph._neighbours import check_edges
from zoo.graph._schedule import cosine


class NetworkField(ZooModule):
    """The rates of change of the states of a network's nodes.

        e = |F - y|,   loss = mean e + variance * mean over samples of Var over nodes of e

    `forward` maps states x (N, n) and edges (N, 2, E) to F (N, n). All samples of a batch live on one graph: the edges
    of the first are read, as (source, target), for an undirected graph each in both directions. `predict(x, edges)`
    takes them as (2, E), too, and raises ValueError where they name no node, come twice, begin where they end, or
    differ between samples. A batch is (x, y, edges), y the rates (N, n). Logged beside the loss are `error`, mean e,
    and `relative`, that over the mean of |y|.

    Trained by Adam at a rate that falls by a cosine to 0 at the end. Raises ValueError for a size below 1, an lr that
    is not positive, a negative variance or weight decay.
    """

    def __init__(self, variance: float, lr: float, weight_decay: float) -> None:
        super().__init__()
        not_negative(variance=variance, weight_decay=weight_decay)
        positive(lr=lr)
        self.variance, self.lr, self.weight_decay = variance, lr, weight_decay

    def field(self, x: Tensor, edges: Tensor) -> Tensor:
        """F of states x with the nodes along the first axis, (n, …), on the graph of edges (2, E)."""
        raise NotImplementedError(f"{type(self).__name__} defines no field")

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        return self.field(x.transpose(0, 1), edges[0]).transpose(0, 1)

    def inputs(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return batch[0], batch[2]

    def complete(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        if not {"x", "edges"} <= given.keys():
            return given
        x, edges = given["x"], given["edges"]
        if x.ndim != 2:
            raise ValueError(f"expected x of shape (N, n), a state for each node, got {tuple(x.shape)}")
        edges = edges.expand(len(x), -1, -1) if edges.ndim == 2 else edges
        if edges.ndim != 3 or not len(edges) == len(x) > 0:
            raise ValueError(f"expected edges of shape (2, E) or ({len(x)}, 2, E), got {tuple(edges.shape)}")
        if bool((edges != edges[:1]).any()):
            raise ValueError("expected one graph for all samples, got edges that differ: predict graph by graph")
        check_edges(edges[0], x.shape[1])
        return {"x": x, "edges": edges}

    def step(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        y = batch[1]
        e = (self(*self.inputs(batch)) - y).abs()
        mean = e.mean()
        spread = e.var(1).mean() if self.variance else torch.zeros_like(mean)
        return {"loss": mean + self.variance * spread, "error": mean, "relative": mean / y.abs().mean()}

    def configure_optimizers(self) -> Any:
        adam = torch.optim.Adam(self.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        return cosine(self, adam)

"""What models of the nodes of a graph share: sums over neighbours as an operator, and squared loss on some nodes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo._checks import at_least, one_of, positive
from zoo._module import ZooModule
from zoo.graph._neighbours import check_edges, neighbour_sum

OPERATORS = ("gcn", "gin")


def propagate(u: Tensor, edges: Tensor, operator: str) -> Tensor:
    """S u for u (n, k) on an undirected graph of edges (2, E), each in both directions and none from a node to itself.

    gcn   S = D^(-1/2) (A + I) D^(-1/2), D the degrees of A + I
    gin   S = A + I
    """
    if operator == "gin":
        return u + neighbour_sum(u, edges)
    ones = u.new_ones(u.shape[0])
    scale = ones.index_add(0, edges[1], ones.index_select(0, edges[1])).rsqrt()[:, None]
    scaled = scale * u
    return scale * (scaled + neighbour_sum(scaled, edges))


class NodeRegression(ZooModule):
    """Scores of the nodes of a graph, fitted by squared error to one-hot labels at the nodes of a mask.

        loss = sum over masked nodes i of ||f_i - e_(y_i)||^2,   mean over graphs

    `forward` maps features x (N, n, in_features) and edges (N, 2, E) of N graphs to scores (N, n, num_classes); edges
    are (source, target), for an undirected graph each in both directions, without edges from a node to itself.
    `predict(x, edges)` takes one graph as (n, in_features) and (2, E), too, and raises ValueError where edges name no
    node, come twice or begin where they end. A batch is (x, edges, labels, mask), the last two (N, n). `accuracy` is
    the share of masked nodes whose largest score is at their label.

    Trained by plain gradient descent on the whole graph with step lr. Raises ValueError for a size below 1, an unknown
    operator, and an lr that is not positive.
    """

    def __init__(self, in_features: int, num_classes: int, depth: int, width: int, operator: str, lr: float) -> None:
        super().__init__()
        at_least(1, in_features=in_features, num_classes=num_classes, depth=depth, width=width)
        one_of(OPERATORS, operator=operator)
        positive(lr=lr)
        self.operator, self.lr = operator, lr

    def scores(self, x: Tensor, edges: Tensor) -> Tensor:
        """Scores (n, num_classes) of features (n, in_features) on one graph, which may have several parts."""
        raise NotImplementedError(f"{type(self).__name__} defines no scores")

    def propagate(self, u: Tensor, edges: Tensor) -> Tensor:
        """S u of the model's operator, for u (n, k) and edges (2, E)."""
        return propagate(u, edges, self.operator)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        return self.scores(*as_one(x, edges)).unflatten(0, x.shape[:2])

    def inputs(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return batch[0], batch[1]

    def complete(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        if not {"x", "edges"} <= given.keys():
            return given
        x, edges = given["x"], given["edges"]
        x, edges = (x[None], edges[None]) if x.ndim == edges.ndim == 2 else (x, edges)
        if x.ndim != 3 or edges.ndim != 3 or len(x) != len(edges):
            expected = "x of shape (N, n, m) with edges (N, 2, E), or (n, m) with (2, E)"
            raise ValueError(f"expected {expected}, got {tuple(given['x'].shape)} with {tuple(given['edges'].shape)}")
        for own in edges:
            check_edges(own, x.shape[1], undirected=True)
        return {"x": x, "edges": edges}

    def step(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        _, _, labels, mask = batch
        return self.scalars(self(*self.inputs(batch)), labels, mask)

    def scalars(self, scores: Tensor, labels: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Loss and accuracy of scores (N, n, num_classes)."""
        targets = nn.functional.one_hot(labels, scores.shape[-1]).to(scores)
        squares = (scores - targets).square().sum(-1) * mask
        right = (scores.argmax(-1) == labels) & mask
        return {"loss": squares.sum() / len(mask), "accuracy": right.sum() / mask.sum().clamp_min(1)}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def as_one(x: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
    """N graphs of n nodes, (N, n, m) and (N, 2, E), as one graph of N n nodes."""
    graphs, nodes = x.shape[:2]
    first = nodes * torch.arange(graphs, device=edges.device)
    return x.flatten(0, 1), (edges + first[:, None, None]).transpose(0, 1).flatten(1)


def mapping(inputs: int, outputs: int, variance: float) -> nn.Linear:
    """A matrix whose entries have that variance over the number of inputs; zeros for none."""
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=(variance / inputs) ** 0.5)
    return layer

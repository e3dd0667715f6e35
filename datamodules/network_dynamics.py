"""States of a network whose nodes act on their neighbours, and how fast they change."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from datamodules._arrays import ArrayDataModule, generator
from datamodules._spec import Field, Spec

GRAPHS = ("erdos_renyi", "scale_free")

#: Of each kind the rate of change (…, n) of states x (…, n), where `total(y)` is sum_j A_ij y_j and `degree` its sum.
Total = Callable[[Tensor], Tensor]
DYNAMICS: dict[str, Callable[[Tensor, Total, Tensor], Tensor]] = {
    "heat": lambda x, total, degree: 0.5 * (total(x) - degree * x),
    "mass_action": lambda x, total, _: 0.5 - 0.1 * x**3 - x * total(x),
    "population": lambda x, total, _: 0.3 * total(x**1.5) - 2 * x**3,
    "michaelis_menten": lambda x, total, _: 0.5 * total(x**3 / (1 + x**3)) - 4 * x,
    "sis": lambda x, total, _: 0.5 * (1 - x) * total(x) - 4 * x,
}


class NetworkDynamics(ArrayDataModule):
    """States x of the nodes of one graph, each in [0, 1] by itself, and their rates of change F(x).

        heat               F_i = -1/2 sum_j A_ij (x_i - x_j)
        mass_action        F_i = 1/2 - x_i^3 / 10 - x_i sum_j A_ij x_j
        population         F_i = -2 x_i^3 + 3/10 sum_j A_ij x_j^(3/2)
        michaelis_menten   F_i = -4 x_i + 1/2 sum_j A_ij x_j^3 / (1 + x_j^3)
        sis                F_i = -4 x_i + 1/2 (1 - x_i) sum_j A_ij x_j

    A is the adjacency matrix of a simple undirected graph of `nodes` nodes with `mean_degree`: `erdos_renyi`, a uniform
    one of round(nodes mean_degree / 2) edges, or `scale_free`, grown by preferential attachment of m edges a node,
    whose mean degree 2 m (nodes - m) / nodes is the nearest, at most 1 away. It depends on `graph_seed`, not on `seed`,
    so that Runs of several seeds share it.

    With a `bootstrap`, the states too depend on `graph_seed`, and each seed trains on that share of their number, drawn
    with replacement: Runs of several seeds are an ensemble on one data set.

    A batch is (x, F, edges) of shapes (B, n), (B, n) and (B, 2, E): each edge of the graph twice, once a direction, as
    (source, target), and the same for all samples. Raises ValueError for other dynamics or graphs, a size below 1, a
    mean degree that no simple graph of so many nodes has, and a bootstrap that is not positive.

    Source: V. Vasiliauskaite and N. Antulov-Fantulin, "Generalization of neural network models for complex network
    dynamics", Communications Physics 7, 2024, arXiv:2301.04900, and the authors' code. Deliberate differences: a fixed
    number of edges in place of a probability; test states.
    """

    citation: ClassVar[str] = """\
@article{vasiliauskaite2024generalization,
  author = {Vaiva Vasiliauskaite and Nino Antulov-Fantulin},
  title = {{Generalization of neural network models for complex network dynamics}},
  journal = {Communications Physics},
  volume = {7},
  year = {2024},
  url = {https://doi.org/10.1038/s42005-024-01837-w}
}"""

    def __init__(
        self,
        dynamics: str = "heat",
        nodes: int = 100,
        mean_degree: float = 9.5,
        graph: str = "erdos_renyi",
        graph_seed: int = 0,
        train_size: int = 1000,
        val_size: int = 100,
        test_size: int = 1000,
        bootstrap: float | None = None,
        batch_size: int = 100,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        sizes = {"train_size": train_size, "val_size": val_size, "test_size": test_size}
        for name, value in {"nodes": nodes, **sizes}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name, choice, choices in (("dynamics", dynamics, DYNAMICS), ("graph", graph, GRAPHS)):
            if choice not in choices:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {choice!r}")
        edge_count(graph, nodes, mean_degree)
        if bootstrap is not None and not (math.isfinite(bootstrap) and round(bootstrap * train_size) >= 1):
            raise ValueError(f"bootstrap must be a share of the {train_size} training samples above 0, got {bootstrap}")
        self.save_hyperparameters()
        self.dynamics, self.nodes, self.mean_degree = dynamics, nodes, mean_degree
        self.graph, self.graph_seed, self.bootstrap = graph, graph_seed, bootstrap
        self.sizes = {"train": train_size, "val": val_size, "test": test_size}

    @property
    def spec(self) -> Spec:
        edges = Field((2, 2 * edge_count(self.graph, self.nodes, self.mean_degree)), torch.int64, self.nodes)
        sizes = {**self.sizes, "train": round((self.bootstrap or 1) * self.sizes["train"])}
        return Spec((Field((self.nodes,)), Field((self.nodes,)), edges), {}, sizes, "1")

    @cached_property
    def edges(self) -> Tensor:
        """The graph's edges in both directions, (2, E)."""
        return random_graph(self.graph, self.nodes, self.mean_degree, self.graph_seed)

    def states(self, split: str) -> Tensor:
        """The states of a split before they are drawn from again, (N, n)."""
        seed = self.seed if self.bootstrap is None else self.graph_seed
        return torch.rand(self.sizes[split], self.nodes, generator=generator(seed, split, 0, 2**31))

    def load(self, split: str) -> tuple[Tensor, ...]:
        x, size = self.states(split), self.spec.sizes[split]
        if split == "train" and self.bootstrap is not None:
            x = x[torch.randint(len(x), (size,), generator=generator(self.seed, split, 0, 2**31 + 1))]
        return x, rates(self.dynamics, x, self.edges), self.edges.expand(size, -1, -1)


def rates(dynamics: str, x: Tensor, edges: Tensor) -> Tensor:
    """F (…, n) of states x (…, n) on a graph of edges (2, E), computed in double precision."""
    source, target = edges

    def total(y: Tensor) -> Tensor:
        return torch.zeros_like(y).index_add(-1, target, y[..., source])

    states = x.double()
    return DYNAMICS[dynamics](states, total, total(torch.ones_like(states))).to(x.dtype)


def edge_count(graph: str, nodes: int, mean_degree: float) -> int:
    """How many undirected edges a graph has; raises ValueError for a mean degree that none has."""
    if graph == "erdos_renyi":
        least, most = 1 / nodes, nodes - 1.0
    else:
        least, most = (2 * m * (nodes - m) / nodes for m in (1, max(nodes // 2, 1)))
        least, most = max(least - 1, 1 / nodes), most + 1
    if not least < mean_degree <= most:
        raise ValueError(f"mean_degree must lie in ({least:.4g}, {most:.4g}] for {nodes} nodes, got {mean_degree}")
    if graph == "erdos_renyi":
        return round(nodes * mean_degree / 2)
    return (attached := attachment(nodes, mean_degree)) * (nodes - attached)


def attachment(nodes: int, mean_degree: float) -> int:
    """How many edges each new node of a scale-free graph has, for the mean degree nearest to the one given."""
    return min(range(1, max(nodes // 2, 1) + 1), key=lambda m: abs(2 * m * (nodes - m) / nodes - mean_degree))


def random_graph(graph: str, nodes: int, mean_degree: float, seed: int) -> Tensor:
    """Edges (2, E) of a simple graph in both directions, ordered by source and target."""
    import networkx

    if graph == "erdos_renyi":
        made = networkx.gnm_random_graph(nodes, edge_count(graph, nodes, mean_degree), seed=seed)
    else:
        made = networkx.barabasi_albert_graph(nodes, attachment(nodes, mean_degree), seed=seed)
    pairs = sorted((a, b) for edge in made.edges for a, b in (edge, edge[::-1]))
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T.contiguous()

"""Small graphs whose class is a wheel in them, and a star that often comes with it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from datamodules._arrays import ArrayDataModule, generator
from datamodules._graphs import fields, padded
from datamodules._spec import Field, Spec

Pairs = Sequence[tuple[int, int]]
SIZE = 6  # nodes of a motif


def _ring(*nodes: int) -> list[tuple[int, int]]:
    return [(node, nodes[place - 1]) for place, node in enumerate(nodes)]


#: What decides the class: the wheel, and what negative graphs have in its place.
CAUSES: dict[str, Pairs] = {
    "wheel": [*((0, rim) for rim in range(1, 6)), *_ring(1, 2, 3, 4, 5)],
    "prism": [*_ring(0, 1, 2), *_ring(3, 4, 5), (0, 3), (1, 4), (2, 5)],
    "ladder": [(0, 1), (1, 2), (3, 4), (4, 5), (0, 3), (1, 4), (2, 5)],
    "bipartite": [(a, b) for a in range(3) for b in range(3, 6)],
    "ring": _ring(0, 1, 2, 3, 4, 5),
}
#: What only comes with it: the star, and what other graphs have in its place, of five edges each.
COMPANIONS: dict[str, Pairs] = {
    "star": [(0, leaf) for leaf in range(1, 6)],
    "path": [(node, node + 1) for node in range(5)],
    "tree": [(0, 1), (0, 2), (1, 3), (1, 4), (2, 5)],
}


class MotifGraphs(ArrayDataModule):
    """Graphs of three parts: a cause, a companion and a random tree to which both are tied by an edge.

    The label is 1 where the cause is a wheel (a hub and a rim of five nodes) and 0 where it is a prism, a ladder, a
    complete bipartite graph or a ring, of six nodes each; half of the graphs are of each class. The companion is a star
    in a share `mu` of the graphs with a wheel and in 1 - mu of the others when training, and in half of either in the
    validation and test splits: there it says nothing. Otherwise it is a path or another tree. The tree has `smallest`
    to `largest` nodes and grows by preferential attachment, and `noise` times as many random edges as there are nodes
    are added to the whole, some of which fall on edges that are there.

    A batch is (x, edges, mask, labels, star): x (B, n, 1) is 1 at every node that is there, edges (B, 2, E) have both
    directions of each as (source, target) and -1 behind the last, mask (B, n) says which nodes are there, n = 12 +
    largest; star (B,) says what a model is not told. Raises ValueError for a size below 2, a mu outside (0, 1), a
    negative noise, and sizes of trees that are not 2 <= smallest <= largest.

    Source: after Z. Chen, T. Xiao, K. Kuang et al., "Learning to reweight for graph neural network", AAAI 2024,
    arXiv:2312.12475, whose cause and companion are a wheel and a star. Deliberate differences: the sizes, the other
    motifs and the noise are ours; the star is symmetric between the classes, so that all four pairs occur.
    """

    def __init__(
        self,
        mu: float = 0.9,
        noise: float = 0.2,
        smallest: int = 8,
        largest: int = 16,
        train_size: int = 512,
        val_size: int = 500,
        test_size: int = 2000,
        batch_size: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed, drop_last=True)
        for name, value in {"train_size": train_size, "val_size": val_size, "test_size": test_size}.items():
            if value < 2:
                raise ValueError(f"{name} must be at least 2, a graph of each class, got {value}")
        if batch_size > train_size:
            raise ValueError(f"batch_size must be at most train_size, {train_size}, got {batch_size}")
        if not 0 < mu < 1:
            raise ValueError(f"mu must lie in (0, 1), so that every pair of motifs occurs, got {mu}")
        if not 0 <= noise < math.inf:
            raise ValueError(f"noise must be finite and not negative, got {noise}")
        if not 2 <= smallest <= largest:
            raise ValueError(f"smallest and largest must be 2 <= smallest <= largest, got {smallest} and {largest}")
        self.save_hyperparameters()
        self.mu, self.noise, self.smallest, self.largest = mu, noise, smallest, largest
        self.sizes = {"train": train_size, "val": val_size, "test": test_size}

    @property
    def nodes(self) -> int:
        """The most nodes of a graph."""
        return 2 * SIZE + self.largest

    @property
    def spec(self) -> Spec:
        parts = len(CAUSES["wheel"]) + len(COMPANIONS["star"]) + self.largest - 1
        edges = 2 * (parts + 2 + round(self.noise * self.nodes))
        star = Field((), torch.int64, 2)
        arguments = {"in_features": 1, "num_classes": 2, "batch_size": self.batch_size}
        return Spec((*fields(self.nodes, edges, 1, 2), star), arguments, self.sizes, "1")

    def load(self, split: str) -> tuple[Tensor, ...]:
        size, draw = self.sizes[split], generator(self.seed, split, 0, 2**31)
        labels = torch.arange(size) % 2
        rate = self.mu if split == "train" else 0.5
        star = torch.rand(size, generator=draw) < torch.where(labels == 1, rate, 1 - rate)
        cause = torch.where(labels == 1, 0, torch.randint(1, len(CAUSES), (size,), generator=draw))
        companion = torch.where(star, 0, torch.randint(1, len(COMPANIONS), (size,), generator=draw))
        trees = torch.randint(self.smallest, self.largest + 1, (size,), generator=draw)
        adjacency = self._joined(cause, companion, trees, draw)
        graph, source, target = adjacency.nonzero().unbind(1)
        mask = torch.arange(self.nodes) < (2 * SIZE + trees)[:, None]
        edges = padded(graph, source, target, size, self.spec.batch[1].shape[1])
        return mask[..., None].float(), edges, mask, labels, star.long()

    def _joined(self, cause: Tensor, companion: Tensor, trees: Tensor, draw: torch.Generator) -> Tensor:
        """Adjacency matrices (N, n, n) of cause, companion and tree of so many nodes, in this order of the nodes."""
        adjacency = torch.zeros(len(cause), self.nodes, self.nodes, dtype=torch.bool)
        adjacency[:, :SIZE, :SIZE] = _matrices(CAUSES)[cause]
        adjacency[:, SIZE : 2 * SIZE, SIZE : 2 * SIZE] = _matrices(COMPANIONS)[companion]
        every = torch.arange(len(cause))

        def join(a: Tensor, b: Tensor, there: Tensor) -> None:
            adjacency[every[there], a[there], b[there]] = True
            adjacency[every[there], b[there], a[there]] = True

        def node(count: Tensor) -> Tensor:
            return (torch.rand(len(cause), generator=draw) * count).long()

        ends = torch.zeros(len(cause), 2 * self.largest, dtype=torch.int64)
        for new in range(1, self.largest):  # an end of a random edge is a node in proportion to its degree
            old = ends[every, torch.randint(max(1, 2 * (new - 1)), (len(cause),), generator=draw)]
            ends[:, 2 * new - 2], ends[:, 2 * new - 1] = new, old
            join(2 * SIZE + new + 0 * old, 2 * SIZE + old, new < trees)
        for first in (0, SIZE):
            join(first + node(torch.tensor(SIZE)), 2 * SIZE + node(trees), trees > 0)
        added = (self.noise * (2 * SIZE + trees)).round()
        for number in range(int(added.max())):
            a, b = node(2 * SIZE + trees), node(2 * SIZE + trees)
            join(a, b, (number < added) & (a != b))
        return adjacency


def _matrices(motifs: dict[str, Pairs]) -> Tensor:
    """Adjacency matrices (motifs, SIZE, SIZE)."""
    matrices = torch.zeros(len(motifs), SIZE, SIZE, dtype=torch.bool)
    for number, pairs in enumerate(motifs.values()):
        matrices[number][tuple(torch.tensor(pairs).T)] = True
    return matrices | matrices.mT

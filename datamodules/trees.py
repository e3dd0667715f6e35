"""Trees: features that children have from their parents, and diseases that spread along branches."""

from __future__ import annotations

import math
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from datamodules._arrays import SPLITS, ArrayDataModule, generator
from datamodules._spec import Field, Spec
from datamodules.link_prediction import DRAWS, LinkPrediction

KINDS = ("balanced", "random")


def check_tree(kind: str, nodes: int, branching: int, features: int) -> None:
    """Raises ValueError for another kind of tree, or a size that none has."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, KINDS))}, got {kind!r}")
    for name, value, least in (("nodes", nodes, 8), ("branching", branching, 1), ("features", features, 1)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")


def parents(kind: str, nodes: int, branching: int, generator: torch.Generator) -> Tensor:
    """The parents (nodes - 1,) of nodes 1, 2, …, each an earlier node; 0 is the root.

    `balanced`: (i - 1) // branching, so that all levels but the last are full. `random`: uniform among the nodes
    before, a recursive tree, whatever the branching.
    """
    later = torch.arange(1, nodes)
    if kind == "balanced":
        return (later - 1) // branching
    return (torch.rand(nodes - 1, generator=generator, dtype=torch.float64) * later).long()


def inherited(parent: Tensor, own: Tensor) -> Tensor:
    """Sums (n, …) of `own` over a node and all its ancestors, in as many passes as log2 of the depth.

    After k passes a node has the sum of its 2^k nearest, itself among them, and knows the ancestor after those.
    """
    zero = own.new_zeros(1, *own.shape[1:])
    total, nothing = torch.cat([own, zero]), len(own)
    above = torch.cat([torch.tensor([nothing]), parent, torch.tensor([nothing])])
    while bool((above != nothing).any()):
        total, above = total + total[above], above[above]
    return total[:-1]


class TreeLinks(LinkPrediction):
    """A tree without some of its branches: which nodes are parent and child.

        x_root ~ N(0, I),   x_child = x_parent + N(0, I)

    The features of `features` dimensions are a diffusion that branches with the tree, seen with independent noise of
    standard deviation `noise`. Tree, features and splits belong to the seed. `kind` is balanced, of `branching`
    children a node, or random, where each node's parent is uniform among the nodes before. Every feature is divided by
    its standard deviation over the nodes. Batches and splits are those of `LinkPrediction`. Raises ValueError for
    another kind, fewer than 8 nodes, and negative noise.

    Source: E. Mathieu et al., "Continuous hierarchical representations with Poincare variational auto-encoders",
    NeurIPS 2019, arXiv:1901.06033, for the branching diffusion; the task is that of `LinkPrediction`.
    """

    citation: ClassVar[str] = """\
@inproceedings{mathieu2019continuous,
  author = {Emile Mathieu and Charline Le Lan and Chris J. Maddison and Ryota Tomioka and Yee Whye Teh},
  title = {{Continuous Hierarchical Representations with Poincar\\'e Variational Auto-Encoders}},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2019},
  url = {https://arxiv.org/abs/1901.06033}
}"""

    def __init__(
        self,
        kind: str = "balanced",
        nodes: int = 364,
        branching: int = 3,
        features: int = 32,
        noise: float = 0.0,
        val_share: float = 0.05,
        test_share: float = 0.1,
        seed: int = 0,
    ) -> None:
        check_tree(kind, nodes, branching, features)
        if not 0 <= noise < math.inf:
            raise ValueError(f"noise must not be negative, got {noise}")
        self.kind, self.nodes, self.branching, self.features, self.noise = kind, nodes, branching, features, noise
        super().__init__(val_share, test_share, seed)
        self.save_hyperparameters()

    @property
    def size(self) -> tuple[int, int, int]:
        return self.nodes, self.features, self.nodes - 1

    @cached_property
    def graph(self) -> tuple[Tensor, Tensor]:
        draws = generator(self.seed, "train", 0, DRAWS + 2)
        parent = parents(self.kind, self.nodes, self.branching, draws)
        steps = torch.randn(self.nodes, self.features, generator=draws)
        seen = inherited(parent, steps) + self.noise * torch.randn(self.nodes, self.features, generator=draws)
        return seen / seen.std(0) / math.sqrt(self.features), torch.stack([parent, torch.arange(1, self.nodes)])


class TreeNodes(ArrayDataModule):
    """A disease that spreads down a tree: who has it, by how susceptible each is and noise.

    The root has it. A child has it where its parent does and its own susceptibility, uniform in [0, 1], is above
    1 - `transmission`. Features are `features` - 1 numbers of noise, N(0, 1), after the susceptibility; labels are 1
    with the disease and 0 without. So the label of a node depends on all its ancestors.

    A batch is one graph, (features, edges, labels, mask): (1, n, m), (1, 2, E) with both directions of each branch, (1,
    n) and (1, n), true at the nodes of the split: `train_share` and `val_share` of them, the others are to test. Tree,
    disease and split belong to the seed. Raises ValueError for another kind, fewer than 8 nodes, a transmission outside
    (0, 1], and shares that leave no nodes to some split.

    Source: I. Chami, R. Ying, C. Re and J. Leskovec, "Hyperbolic graph convolutional neural networks", NeurIPS 2019,
    arXiv:1910.12933, for a disease on a tree; theirs is not generated anew, and has 1,000 features.
    """

    def __init__(
        self,
        kind: str = "balanced",
        nodes: int = 1093,
        branching: int = 3,
        features: int = 8,
        transmission: float = 0.85,
        train_share: float = 0.3,
        val_share: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=1, seed=seed)
        check_tree(kind, nodes, branching, features)
        if not 0 < transmission <= 1:
            raise ValueError(f"transmission must lie in (0, 1], got {transmission}")
        self.save_hyperparameters()
        self.kind, self.nodes, self.branching, self.features = kind, nodes, branching, features
        self.transmission = transmission
        train, val = round(train_share * nodes), round(val_share * nodes)
        self.counts = [train, val, nodes - train - val]
        if min(self.counts) < 1:
            raise ValueError(
                f"train_share {train_share} and val_share {val_share} leave {self.counts} of {nodes} nodes to the "
                "three splits: each needs one"
            )

    @property
    def spec(self) -> Spec:
        nodes = (self.nodes,)
        fields = (
            Field((self.nodes, self.features)),
            Field((2, 2 * (self.nodes - 1)), torch.int64, self.nodes),
            Field(nodes, torch.int64, 2),
            Field(nodes, torch.bool),
        )
        return Spec(fields, {"in_features": self.features, "num_classes": 2}, dict.fromkeys(SPLITS, 1), "1")

    def load(self, split: str) -> tuple[Tensor, ...]:
        draws = generator(self.seed, "train", 0, DRAWS)
        parent = parents(self.kind, self.nodes, self.branching, draws)
        features = torch.randn(self.nodes, self.features, generator=draws)
        features[:, 0] = torch.rand(self.nodes, generator=draws)
        immune = features[:, 0] <= 1 - self.transmission
        immune[0] = False
        labels = (inherited(parent, immune.long()) == 0).long()
        branches = torch.stack([parent, torch.arange(1, self.nodes)])
        order = torch.randperm(self.nodes, generator=draws)
        mask = torch.zeros(self.nodes, dtype=torch.bool)
        mask[order.split(self.counts)[SPLITS.index(split)]] = True
        return features[None], torch.cat([branches, branches.flip(0)], 1)[None], labels[None], mask[None]

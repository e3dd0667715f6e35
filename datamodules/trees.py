"""Trees: kinship in them, and diseases that spread along branches."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from datamodules._arrays import SPLITS, ArrayDataModule, generator
from datamodules._shares import check_shares
from datamodules._spec import Field, Spec
from datamodules.link_prediction import DRAWS, LinkPrediction

KINDS = ("balanced", "random")


def check_tree(kind: str, nodes: int, branching: int) -> None:
    """Raises ValueError for another kind of tree, or a size that none has."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, KINDS))}, got {kind!r}")
    check_counts(nodes=(nodes, 8), branching=(branching, 1))


def check_counts(**counts: tuple[int, int]) -> None:
    """Raises ValueError for what is no whole number, or less than the least one beside it."""
    for name, (value, least) in counts.items():
        if not isinstance(value, int):
            raise ValueError(f"{name} must be a whole number, got {value!r}")
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
    """Kinship in a tree: who is another's parent or child or, with `reach` 2, grandparent, grandchild or sibling.

    Nodes are linked where their distance in the tree is at most `reach`. What is known of a node is its number alone:
    features are the rows of the unit matrix, (n, n). With `reach` 2 a link that is held out can be told from the
    others. A tree has room for its leaves where the circumference of a disc grows like the exponential of its radius.

    `kind` is balanced, of `branching` children a node, the last level maybe not full; or random, where each node's
    parent is uniform among the nodes before. A random tree and the splits belong to the seed. Batches and splits are
    those of `LinkPrediction`; `branches` are the tree's own edges. Raises ValueError for another kind or reach, and
    fewer than 8 nodes.

    Source: R. Sarkar, "Low distortion Delaunay embedding of trees in hyperbolic plane", Graph Drawing 2011, for what is
    expected; the task is ours.
    """

    def __init__(
        self,
        kind: str = "balanced",
        nodes: int = 364,
        branching: int = 3,
        reach: int = 2,
        val_share: float = 0.05,
        test_share: float = 0.1,
        seed: int = 0,
    ) -> None:
        check_tree(kind, nodes, branching)
        if reach not in (1, 2):
            raise ValueError(f"reach must be 1 or 2, got {reach}")
        parent = parents(kind, nodes, branching, generator(seed, "train", 0, DRAWS + 2))
        self.nodes, self.reach = nodes, reach
        self.branches = torch.stack([parent, torch.arange(1, nodes)])
        super().__init__(val_share, test_share, seed)
        self.save_hyperparameters()

    @property
    def size(self) -> tuple[int, int, int]:
        degrees = self.branches.flatten().bincount()
        over_one = int((degrees * (degrees - 1) // 2).sum()) if self.reach == 2 else 0
        return self.nodes, self.nodes, self.nodes - 1 + over_one

    @cached_property
    def graph(self) -> tuple[Tensor, Tensor]:
        near = torch.zeros(self.nodes, self.nodes)
        near[self.branches[0], self.branches[1]] = 1
        near = near + near.T
        if self.reach == 2:
            near = near + near @ near
        return torch.eye(self.nodes), near.triu(1).nonzero().T.contiguous()


class TreeNodes(ArrayDataModule):
    """A disease that spreads down a tree: who has it, by how susceptible each is and noise.

    The root has it. A child has it where its parent does and its own susceptibility, uniform in [0, 1], is above
    1 - `transmission`. Features are `features` - 1 numbers of noise, N(0, 1), after the susceptibility; labels are 1
    with the disease and 0 without. So the label of a node depends on all its ancestors.

    A batch is one graph, (features, edges, labels, mask): (1, n, m), (1, 2, E) with both directions of each branch, (1,
    n) and (1, n), true at the nodes of the split: `train_share` and `val_share` of them, the others are to test. Tree,
    disease and split belong to the seed. Raises ValueError for another kind, fewer than 8 nodes, a transmission outside
    (0, 1], and shares outside (0, 1) or that leave no nodes, or on loading nodes of one class alone, to some split.

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
        check_tree(kind, nodes, branching)
        check_counts(features=(features, 1))
        if not 0 < transmission <= 1:
            raise ValueError(f"transmission must lie in (0, 1], got {transmission}")
        check_shares(train_share=train_share, val_share=val_share)
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
        if not 0 < int(labels[mask].sum()) < int(mask.sum()):
            raise ValueError(
                f"all {split} nodes are of one class with seed {self.seed} and transmission {self.transmission}: "
                "take more nodes, other shares, another seed or a transmission nearer to 0.5"
            )
        return features[None], torch.cat([branches, branches.flip(0)], 1)[None], labels[None], mask[None]

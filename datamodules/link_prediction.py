"""Missing links: which pairs of nodes of a graph are edges that were taken out of it."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from datamodules._arrays import SPLITS, ArrayDataModule, generator
from datamodules._shares import check_shares
from datamodules._spec import Field, Spec
from datamodules.citation_graph import CitationGraph

DRAWS = 2**31  # the position under which what stays the same in all epochs is drawn: beyond those of batches


class LinkPrediction(ArrayDataModule):
    """One graph without some of its edges, and pairs of nodes: edges, and as many pairs that are none.

    A batch is (features, edges, pairs, linked) of shapes (1, n, m), (1, 2, E), (1, 2, P) in int64 and (1, P) in bool.
    The edges along which messages may go are those of the training split in all splits, each in both directions. The
    first half of the pairs are the split's edges, the others are drawn uniformly: in every epoch anew for training,
    from all pairs without a training edge, so that nothing is learned of held-out ones; once for `val` and `test`, from
    all pairs without any edge. `val_share` and `test_share` of the edges are held out, by the seed.

    A subclass gives `size` (nodes, features, undirected edges) and `graph` (features (n, m), pairs (2, edges)).
    Raises ValueError for shares that leave some split without an edge.

    Source of the protocol: T. N. Kipf and M. Welling, "Variational graph auto-encoders", 2016, arXiv:1611.07308, and,
    for the shares, I. Chami et al., "Hyperbolic graph convolutional neural networks", NeurIPS 2019, arXiv:1910.12933.
    Deliberate difference: theirs draw training pairs from those without any edge, which tells of held-out edges.
    """

    def __init__(self, val_share: float, test_share: float, seed: int) -> None:
        super().__init__(batch_size=1, seed=seed)
        self.val_share, self.test_share = val_share, test_share
        check_shares(val_share=val_share, test_share=test_share)
        nodes, _, edges = self.size
        if edges >= nodes * (nodes - 1) // 2:
            raise ValueError(
                f"all pairs of the {nodes} nodes are edges, none is left to tell them from: take more nodes"
            )
        if min(self.counts.values()) < 1:
            raise ValueError(
                f"val_share {val_share} and test_share {test_share} leave {self.counts} of {self.size[2]} edges: every "
                "split needs one"
            )

    @property
    def size(self) -> tuple[int, int, int]:
        """Nodes, features and undirected edges."""
        raise NotImplementedError(f"{type(self).__name__} gives no size")

    @property
    def graph(self) -> tuple[Tensor, Tensor]:
        """Features (n, m), and each edge once as a pair of nodes, (2, edges)."""
        raise NotImplementedError(f"{type(self).__name__} gives no graph")

    @property
    def counts(self) -> dict[str, int]:
        """The edges of each split."""
        edges = self.size[2]
        held = {"val": round(self.val_share * edges), "test": round(self.test_share * edges)}
        return {"train": edges - sum(held.values()), **held}

    @property
    def spec(self) -> Spec:
        nodes, features, _ = self.size
        train = 2 * self.counts["train"]
        pair = Field((2, train), torch.int64, nodes)
        fields = (Field((nodes, features)), pair, pair, Field((train,), torch.bool))
        return Spec(fields, {"in_features": features}, dict.fromkeys(SPLITS, 1), "1")

    @cached_property
    def parted(self) -> dict[str, Tensor]:
        """The edges of each split, (2, edges)."""
        pairs = self.graph[1]
        order = torch.randperm(pairs.shape[1], generator=generator(self.seed, "train", 0, DRAWS))
        return dict(zip(SPLITS, pairs[:, order].split(list(self.counts.values()), 1), strict=True))

    def load(self, split: str) -> tuple[Tensor, ...]:
        features, every = self.graph
        train, own = self.parted["train"], self.parted[split]
        edges = torch.cat([train, train.flip(0)], 1)
        known = train if split == "train" else every
        none = absent(known, len(features), own.shape[1], generator(self.seed, split, 0, DRAWS + 1))
        linked = torch.arange(2 * own.shape[1]) < own.shape[1]
        return features[None], edges[None], torch.cat([own, none], 1)[None], linked[None]

    def transform(self, batch: tuple[Tensor, ...], generator: torch.Generator) -> tuple[Tensor, ...]:
        features, edges, pairs, linked = batch
        train = pairs[0, :, : pairs.shape[2] // 2]
        none = absent(self.parted["train"], features.shape[1], train.shape[1], generator).to(train.device)
        return features, edges, torch.cat([train, none], 1)[None], linked


def absent(pairs: Tensor, nodes: int, count: int, generator: torch.Generator) -> Tensor:
    """Draws pairs (2, count) of different nodes that are none of `pairs` (2, edges), uniformly and with replacement.

    Pairs i < j are numbered j (j - 1) / 2 + i. The k-th number that is not among the sorted ones e_0 < e_1 < … is k
    plus how many of them have e_l - l <= k.
    """
    low, high = pairs.sort(0).values
    taken = (high * (high - 1) // 2 + low).unique()
    free = nodes * (nodes - 1) // 2 - len(taken)
    if free < 1:
        raise ValueError(f"all pairs of the {nodes} nodes are edges: there is none to draw")
    return numbered(torch.randint(free, (count,), generator=generator), taken)


def numbered(k: Tensor, taken: Tensor) -> Tensor:
    """The pairs (2, count) that are the k-th ones, from 0, whose numbers are not among the sorted ones in `taken`."""
    number = k + torch.searchsorted(taken - torch.arange(len(taken)), k, right=True)
    high = ((1 + (1 + 8 * number.double()).sqrt()) / 2).long()
    high -= (high * (high - 1) // 2 > number).long()  # where the root was rounded up to a whole number
    return torch.stack([number - high * (high - 1) // 2, high])


class CitationLinks(LinkPrediction):
    """The citation graphs of `CitationGraph` without some of their edges: which papers cite each other.

    Nodes, features and files are those of that data module, batches and splits those of `LinkPrediction`.

    Source: Z. Yang, W. W. Cohen and R. Salakhutdinov, "Revisiting semi-supervised learning with graph embeddings", ICML
    2016, arXiv:1603.08861.
    """

    downloads = True
    libraries = CitationGraph.libraries
    citation: ClassVar[str] = CitationGraph.citation

    def __init__(
        self,
        name: str = "cora",
        normalise: bool = True,
        val_share: float = 0.05,
        test_share: float = 0.1,
        seed: int = 0,
    ) -> None:
        self.citations = CitationGraph(name, normalise)
        super().__init__(val_share, test_share, seed)
        self.save_hyperparameters()

    @property
    def size(self) -> tuple[int, int, int]:
        counts = self.citations.counts
        return counts.nodes, counts.features, counts.edges

    def prepare_data(self) -> None:
        """Downloads the files where they are missing; raises DataMissing, with the remedy, if that fails."""
        self.citations.prepare_data()

    @cached_property
    def graph(self) -> tuple[Tensor, Tensor]:
        features, edges = self.citations.load("train")[:2]
        return features[0], edges[0][:, edges[0, 0] < edges[0, 1]]

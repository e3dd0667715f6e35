"""Graphs of papers that cite each other: Cora, CiteSeer and PubMed in the form of Planetoid."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from datamodules._arrays import SPLITS, ArrayDataModule, BatchLoader, generator
from datamodules._files import data_dir, provide
from datamodules._shares import check_shares
from datamodules._spec import Field, Spec

PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")


@dataclass(frozen=True)
class Counts:
    """What a set of files holds: edges are undirected, `unlabelled` nodes belong to no class and have no words."""

    folder: str
    nodes: int
    features: int
    classes: int
    edges: int
    unlabelled: int = 0

    @property
    def files(self) -> list[str]:
        return [f"Planetoid/{self.folder}/raw/ind.{self.folder.lower()}.{part}" for part in PARTS]


GRAPHS = {
    "cora": Counts("Cora", 2708, 1433, 7, 5278),
    "citeseer": Counts("CiteSeer", 3327, 3703, 6, 4552, unlabelled=15),
    "pubmed": Counts("PubMed", 19717, 500, 3, 44324),
}


class CitationGraph(ArrayDataModule):
    """One graph of papers: the words of each, who cites whom in either direction, and the field that each belongs to.

    A batch is one graph, (features, edges, labels, mask): (1, n, m) in float32, (1, 2, E) in int64, each undirected
    edge twice as (source, target), (1, n) in int64, and (1, n), true at the nodes of that split. All splits have the
    same graph; edges from a node to itself and copies are left out. Features are 0 or 1 for a word of a list (in PubMed
    its tf-idf weight); with `normalise` those of a node are divided by their sum, and those of a node without words
    stay 0.

        cora       2,708 nodes    5,278 edges   1,433 words   7 classes
        citeseer   3,327          4,552         3,703         6          48 nodes without edges
        pubmed    19,717         44,324           500         3

    `public` is the split of Yang et al.: the first 20 nodes of each class to train on, 500 to validate and 1,000 to
    test. `random` draws shares `train_share` and `val_share` of the nodes by the seed, and tests on the rest. 15
    nodes of CiteSeer without edges or words have no class: they are in the graph with label 0, and in no split. With
    `shuffled` the labels of each split are dealt out anew among its nodes, by the seed: labels without a reason.

    Files are read by torch_geometric from `Planetoid/` of the data folder, in place, or downloaded. Raises ValueError
    for an unknown name or split, shares that leave no nodes, or no node of some class, to a split, and files that hold
    another graph; DataMissing, with the remedy, where there are no files and none can be had.

    Source: Z. Yang, W. W. Cohen and R. Salakhutdinov, "Revisiting semi-supervised learning with graph embeddings", ICML
    2016, arXiv:1603.08861; collected by P. Sen et al., "Collective classification in network data", 2008.
    """

    downloads = True
    libraries = ("torch_geometric.io",)
    citation: ClassVar[str] = """\
@inproceedings{yang2016revisiting,
  author = {Zhilin Yang and William W. Cohen and Ruslan Salakhutdinov},
  title = {{Revisiting semi-supervised learning with graph embeddings}},
  booktitle = {International Conference on Machine Learning},
  year = {2016},
  url = {https://arxiv.org/abs/1603.08861}
}"""

    def __init__(
        self,
        name: str = "cora",
        normalise: bool = True,
        split: str = "public",
        train_share: float = 0.1,
        val_share: float = 0.1,
        shuffled: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=1, seed=seed)
        for argument, choice, choices in (("name", name, tuple(GRAPHS)), ("split", split, ("public", "random"))):
            if choice not in choices:
                raise ValueError(f"{argument} must be one of {', '.join(map(repr, choices))}, got {choice!r}")
        self.save_hyperparameters()
        self.name, self.normalise, self.split, self.shuffled = name, normalise, split, shuffled
        self.counts = GRAPHS[name]
        self.shares = {"train_share": train_share, "val_share": val_share}
        if split == "random":
            self._check_shares()

    def _check_shares(self) -> None:
        check_shares(**self.shares)
        if not sum(self.shares.values()) < 1:
            raise ValueError(f"train_share and val_share must leave some nodes to test on, got {self.shares}")

    @property
    def spec(self) -> Spec:
        has = self.counts
        nodes = (has.nodes,)
        fields = (
            Field((has.nodes, has.features)),
            Field((2, 2 * has.edges), torch.int64, has.nodes),
            Field(nodes, torch.int64, has.classes),
            Field(nodes, torch.bool),
        )
        arguments = {"in_features": has.features, "num_classes": has.classes}
        return Spec(fields, arguments, dict.fromkeys(SPLITS, 1), "1")

    def prepare_data(self) -> None:
        """Downloads the files where they are missing; raises DataMissing, with the remedy, if that fails."""
        self._root()

    def load(self, split: str) -> tuple[Tensor, ...]:
        graph = self._graph
        mask = getattr(graph, f"{split}_mask") if self.split == "public" else self._drawn[split]
        x = graph.x / graph.x.sum(1, keepdim=True).clamp_min(1e-12) if self.normalise else graph.x
        labels = graph.y
        if self.shuffled:
            own = labels[mask]
            order = torch.randperm(len(own), generator=generator(self.seed, split, 0, 2**31))
            labels = labels.masked_scatter(mask, own[order])
        return x[None], graph.edge_index[None], labels[None], mask[None]

    def loader(self, split: str) -> BatchLoader:
        """The graph itself, which is not copied for every batch."""
        arrays = self.tensors(split)
        return BatchLoader(lambda epoch, position: arrays, 1)

    @cached_property
    def _graph(self) -> Any:
        """torch_geometric's description of the graph, which is the one that the name promises."""
        folder = (self._root() / self.counts.files[0]).parent
        with warnings.catch_warnings():  # of the library's import, and of the age of the files
            warnings.simplefilter("ignore")
            from torch_geometric.io import read_planetoid_data

            graph = read_planetoid_data(str(folder), self.name)
        has = self.counts
        found = (*graph.x.shape, int(graph.y.max()) + 1, graph.edge_index.shape[1])
        if found != (expected := (has.nodes, has.features, has.classes, 2 * has.edges)):
            what = "nodes, features, classes and directed edges"
            raise ValueError(f"{folder} is not {has.folder}: it has {found} {what}, expected {expected}")
        return graph

    @cached_property
    def _drawn(self) -> dict[str, Tensor]:
        """The masks of a random split of the nodes that have a class."""
        labels, test = self._graph.y, self._graph.test_mask
        unlabelled = ~test & (torch.arange(len(test)) >= int(test.nonzero()[0]))  # the files number test nodes last
        nodes = (~unlabelled).nonzero()[:, 0]
        order = nodes[torch.randperm(len(nodes), generator=generator(self.seed, "train", 0, 2**31))]
        train, val = (round(share * len(nodes)) for share in self.shares.values())
        masks = {}
        for split, part in zip(SPLITS, order.tensor_split((train, train + val)), strict=True):
            present = labels[part].bincount(minlength=self.counts.classes) > 0
            if not present.all():
                empty = (~present).nonzero()[:, 0].tolist()
                raise ValueError(
                    f"train_share {self.shares['train_share']} and val_share {self.shares['val_share']} with seed "
                    f"{self.seed} leave no node of classes {empty} in the {split} split: take other shares"
                )
            masks[split] = torch.zeros_like(test).index_fill(0, part, True)
        return masks

    def _root(self) -> Path:
        raw = (data_dir() / self.counts.files[0]).parent
        return provide(
            f"CitationGraph {self.name}",
            self.counts.files,
            self._download,
            f"put the files of {self.counts.folder} of github.com/kimiyoung/planetoid into {raw}",
        )

    def _download(self, root: Path) -> None:
        """The raw files alone: what the library makes of them in passing is left out."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torch_geometric.datasets import Planetoid

        with tempfile.TemporaryDirectory(dir=root) as passing:
            raw = Path(Planetoid(passing, self.counts.folder).raw_dir)
            shutil.copytree(raw, (root / self.counts.files[0]).parent, dirs_exist_ok=True)

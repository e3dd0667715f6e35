"""Hyperedges of three nodes from four published hypergraphs, and made ones of several sizes."""

from __future__ import annotations

import hashlib
import math
import urllib.request
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from datamodules._arrays import generator
from datamodules._files import data_dir, provide
from datamodules._hyperedges import Corruption, HyperedgeData, offsets
from datamodules._spec import Spec

SOURCE = "https://raw.githubusercontent.com/ma-compbio/Hyper-SAGNN/be978daade0305798c45f27d3ba3c66a5f4c5a59/data"
#: Of each: the folder, how many nodes of each type, and how many different triples of training and, beside these, test.
SETS: dict[str, tuple[str, tuple[int, int, int], int, int]] = {
    "gps": ("GPS", (146, 70, 5), 1_154, 282),
    "movielens": ("MovieLens", (1_943, 5_610, 8_040), 38_365, 8_047),
    "drug": ("drug", (12, 1_077, 6_398), 61_713, 10_929),
    "wordnet": ("wordnet", (40_750, 18, 40_752), 117_153, 29_289),
}
SHA256 = {
    "GPS/train_data.npz": "cb0b000a66ca61e956bcf18d1e1d39fe6f0b277510503e2deca008f2e62f0d09",
    "GPS/test_data.npz": "7ed40b944b9885d955d69fb1f1791ecea946c8bf4d4d5dbfda5ce4581e2b0301",
    "MovieLens/train_data.npz": "50246a9bde10b72968f7e857db741a03ec9b7c2d58908ff6b6cb6d0a0b06e5f4",
    "MovieLens/test_data.npz": "9b3b199fb9d2ee20eac0ac0d108a2a307849a2c28a95689ade342d62bc3537bc",
    "drug/train_data.npz": "304577d37203e72ac10954ef2e9ab75e2113645af786b10d5a82db21f2db7acc",
    "drug/test_data.npz": "77892d6f299740829c955a69fa21cb560424941439c2e29909fe53e116c5808f",
    "wordnet/train_data.npz": "dc6575c71c5744d12824119d722cdddcff93af0e4c202fd38c5ffc0512921399",
    "wordnet/test_data.npz": "49fa119ca83cf1f2660e1ac1bcbabcebfc74d086e3a11b64d0945d6afca10f87",
}


class HyperedgeTriples(HyperedgeData):
    """Triples of one node of each of three types, and triples that are none; batches are those of HyperedgeData.

        gps         (user, location, activity)
        movielens   (user, film, tag)
        drug        (user, drug, reaction)
        wordnet     (head, relation, tail)

    The numbers of the first type's nodes come first, then the second's: of `gps` users are 0 to 145, locations 146 to
    215 and activities 216 to 220. `val_share` of the training triples, drawn by the seed, is held back to select by; of
    those that, in an order drawn before, come first with any of their nodes, none is, so that all nodes are trained on.
    The released code selects its checkpoint by the area under the curve of the test triples: that is not done here.

    A triple counts once, and one of the training file is no test triple. That concerns `drug`: of the 20,373 different
    triples of its test file 9,444 are in the training file too, which leaves 10,929.

    Files are read from `HyperSAGNN/` of the data folder or downloaded (below 5 MB). Raises ValueError for another
    name, a share that leaves a split without triples, and a file whose triples are not those of the table or have
    numbers out of range; and DataMissing, with the remedy, where there are no files and none can be had.

    Source: K. Tu, P. Cui, X. Wang, F. Wang and W. Zhu, "Structural deep embedding for hyper-networks", AAAI 2018,
    arXiv:1711.10146, in the files of R. Zhang, Y. Zou and J. Ma, "Hyper-SAGNN", ICLR 2020, arXiv:1911.02613.
    """

    downloads = True
    citation: ClassVar[str] = """\
@inproceedings{tu2018structural,
  author = {Ke Tu and Peng Cui and Xiao Wang and Fei Wang and Wenwu Zhu},
  title = {{Structural deep embedding for hyper-networks}},
  booktitle = {AAAI},
  year = {2018},
  eprint = {1711.10146},
  archiveprefix = {arXiv},
  url = {https://arxiv.org/abs/1711.10146}
}"""
    max_size = 3

    def __init__(self, name: str = "gps", val_share: float = 0.1, batch_size: int = 96, seed: int = 0) -> None:
        super().__init__(batch_size, seed)
        if name not in SETS:
            raise ValueError(f"name must be one of {', '.join(map(repr, SETS))}, got {name!r}")
        self.save_hyperparameters()
        self.folder, self.nodes, total, test = SETS[name]
        if not 0 < val_share <= 0.25 or round(val_share * total) < 1:
            raise ValueError(
                f"val_share must hold back a triple and at most a quarter of the {total} triples, in (0, 0.25], "
                f"got {val_share}"
            )
        val = round(val_share * total)
        self.counts = {"train": total - val, "val": val, "test": test}

    @property
    def spec(self) -> Spec:
        return self._spec(self.counts, "1")

    def prepare_data(self) -> None:
        """Downloads the files where they are missing; raises DataMissing, with the remedy, if that fails."""
        self._root()

    @cached_property
    def positives(self) -> Mapping[str, Tensor]:
        given, test = self._read("train"), self._read("test")
        test = test[~Corruption(self.nodes, given).is_known(test)]
        told = (self.counts["train"] + self.counts["val"], self.counts["test"])
        if (found := (len(given), len(test))) != told:
            raise ValueError(f"{self.folder}: expected {told} different triples, got {found}: fetch the files anew")
        rest = not_first(given, generator(self.seed, "train", 0, 2**31))
        val = torch.zeros(len(given), dtype=torch.bool).index_fill(0, rest[: self.counts["val"]], value=True)
        return {"train": given[~val], "val": given[val], "test": test}

    def _read(self, split: str) -> Tensor:
        """The different triples of a file, (E, 3), in the numbers of all nodes."""
        path = self._root() / "HyperSAGNN" / self.folder / f"{split}_data.npz"
        with np.load(path, allow_pickle=False) as file:
            triples = torch.from_numpy(file[f"{split}_data"].astype(np.int64))
        bad = (triples < 0) | (triples >= torch.tensor(self.nodes))
        if bad.any():
            row, column = bad.nonzero()[0].tolist()
            told = f"numbers below {self.nodes[column]} in column {column}"
            raise ValueError(f"{path}: expected {told}, got {int(triples[row, column])}: fetch the file anew")
        return (triples + torch.tensor(offsets(self.nodes)[:-1])).unique(dim=0)

    def _root(self) -> Path:
        names = [f"{self.folder}/{split}_data.npz" for split in ("train", "test")]
        return provide(
            "HyperedgeTriples",
            [f"HyperSAGNN/{name}" for name in names],
            lambda root: _download(root, names),
            f"put {' and '.join(names)} of {SOURCE} into {data_dir() / 'HyperSAGNN'}",
        )


class PlantedHyperedges(HyperedgeData):
    """Hyperedges of several sizes, each within one of the groups into which the nodes are divided.

    Nodes 0 to groups x members - 1 are of one type, a group is `members` numbers in a row; sizes are uniform from
    `least` to `most`, groups and nodes of a group uniform. Batches are those of HyperedgeData: where a node is
    replaced, the other one may be of the same group, and the result a hyperedge that is labelled as none. Within a
    group and with all different, `least` to `most` nodes can be nothing but that: who knows the groups ranks all others
    below, and no ranking of what is not known can do better than

        area = 1 - (share of the negatives that lie within one group) / 2

    Raises ValueError for sizes below 1, least below 2, most below least or above the members of a group, fewer than two
    groups, and for more hyperedges than half of those of the smallest size that there are.
    """

    def __init__(
        self,
        groups: int = 10,
        members: int = 12,
        least: int = 3,
        most: int = 6,
        train_size: int = 600,
        val_size: int = 100,
        test_size: int = 300,
        batch_size: int = 96,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        counts = {"train_size": train_size, "val_size": val_size, "test_size": test_size}
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if groups < 2:
            raise ValueError(f"groups must be at least 2, got {groups}")
        if not 2 <= least <= most <= members:
            raise ValueError(f"sizes must be 2 <= least <= most <= members, got {least}, {most} and {members}")
        if sum(counts.values()) > (possible := groups * math.comb(members, least)) / 2:
            told = f"half of the {possible} hyperedges of {least} nodes"
            raise ValueError(f"train_size, val_size and test_size must add to at most {told}, got {counts}")
        self.save_hyperparameters()
        self.groups, self.members, self.least, self.max_size = groups, members, least, most
        self.nodes = (groups * members,)
        self.counts = {"train": train_size, "val": val_size, "test": test_size}

    @property
    def spec(self) -> Spec:
        return self._spec(self.counts, "1")

    @cached_property
    def positives(self) -> Mapping[str, Tensor]:
        draw, total = generator(self.seed, "train", 0, 2**31), sum(self.counts.values())
        found = torch.empty(0, self.max_size, dtype=torch.int64)
        while len(found) < total:
            found = torch.cat([found, self._drawn(total, draw)]).unique(dim=0)
        parts = found[torch.randperm(len(found), generator=draw)[:total]].split(list(self.counts.values()))
        return dict(zip(self.counts, parts, strict=True))

    def _drawn(self, count: int, draw: torch.Generator) -> Tensor:
        """Hyperedges (count, most) whose nodes increase, with -1 behind them."""
        sizes = torch.randint(self.least, self.max_size + 1, (count, 1), generator=draw)
        order = torch.rand(count, self.members, generator=draw).argsort(1)[:, : self.max_size]
        absent = torch.arange(self.max_size) >= sizes
        increasing = order.masked_fill(absent, self.members).sort(1).values
        group = torch.randint(self.groups, (count, 1), generator=draw)
        return (group * self.members + increasing).masked_fill(absent, -1)

    def within(self, hyperedges: Tensor) -> Tensor:
        """Whether all nodes are of one group, (E,)."""
        group = hyperedges.div(self.members, rounding_mode="floor").where(hyperedges >= 0, -1)
        return group.amax(1) == group.where(hyperedges >= 0, group.amax(1, keepdim=True)).amin(1)


def not_first(hyperedges: Tensor, draw: torch.Generator) -> Tensor:
    """Rows of hyperedges (E, k) in a drawn order, without those that in it are the first with any of their nodes."""
    order = torch.randperm(len(hyperedges), generator=draw)
    first = np.unique(hyperedges[order].numpy().ravel(), return_index=True)[1] // hyperedges.shape[1]
    keep = torch.ones(len(order), dtype=torch.bool).index_fill(0, torch.from_numpy(first), value=False)
    return order[keep]


def _download(root: Path, names: list[str]) -> None:
    for name in names:
        with urllib.request.urlopen(f"{SOURCE}/{name}") as answer:
            content = answer.read()
        if (found := hashlib.sha256(content).hexdigest()) != SHA256[name]:
            raise ValueError(f"{SOURCE}/{name} has SHA-256 {found}, expected {SHA256[name]}")
        path = root / "HyperSAGNN" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

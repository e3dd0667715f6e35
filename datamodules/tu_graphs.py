"""Collections of small graphs from TUDataset: trained on the small ones, tested on the large ones."""

from __future__ import annotations

import io
import urllib.request
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from datamodules._arrays import ArrayDataModule, generator
from datamodules._files import data_dir, provide
from datamodules._graphs import fields, padded
from datamodules._shares import check_shares
from datamodules._spec import Spec
from datamodules._tu_sizes import COLLECTIONS, Collection
from datamodules.irregular_series import stratified

SOURCE = "https://www.chrsmrrs.com/graphkerneldatasets"
PARTS = ("A", "graph_indicator", "graph_labels", "node_labels")


class TUGraphs(ArrayDataModule):
    """Graphs with kinds of nodes and two classes, split by their size.

    `proteins` are 1,113 proteins, enzymes or not, whose nodes are helices, sheets and turns, tied to their neighbours
    along the chain and in space; `mutag` are 188 molecules. Graphs of at most `small` nodes are trained on, but for a
    share `val_share` of each class, drawn by the seed, which is the validation split: of the training graphs' sizes.
    All larger graphs are the test split.

    A batch is (x, edges, mask, labels): x (B, n, m) has a 1 for the kind of each node, edges (B, 2, E) have both
    directions of each as (source, target) and -1 behind the last, mask (B, n) says which nodes are there. n and E are
    the most of any graph of at most `small` nodes, in the test split of any graph.

    The text files in `TUDataset/NAME/raw/` of the data folder are read in place, or downloaded. Raises ValueError for
    another name, for a `small` or a share that leaves a split without graphs of one class, and for files of other
    graphs; DataMissing, with the remedy, where there are no files and none can be had.

    Source: C. Morris, N. M. Kriege, F. Bause, K. Kersting, P. Mutzel and M. Neumann, "TUDataset: a collection of
    benchmark datasets for learning with graphs", 2020, arXiv:2007.08663.
    """

    downloads = True
    eval_batch_size = 64
    citation: ClassVar[str] = """\
@misc{morris2020tudataset,
  author = {Christopher Morris and Nils M. Kriege and Franka Bause and Kristian Kersting and Petra Mutzel
    and Marion Neumann},
  title = {{TUDataset: a collection of benchmark datasets for learning with graphs}},
  year = {2020},
  eprint = {2007.08663},
  archiveprefix = {arXiv},
  url = {https://arxiv.org/abs/2007.08663}
}"""

    def __init__(
        self, name: str = "proteins", small: int = 25, val_share: float = 0.2, batch_size: int = 64, seed: int = 0
    ) -> None:
        super().__init__(batch_size, seed, drop_last=True)
        if name not in COLLECTIONS:
            raise ValueError(f"name must be one of {', '.join(map(repr, COLLECTIONS))}, got {name!r}")
        check_shares(val_share=val_share)
        self.save_hyperparameters()
        self.collection, self.small, self.val_share = COLLECTIONS[name], small, val_share
        most = max(self.collection.sizes)
        self.inside, self.outside = self.collection.graphs(0, small), self.collection.graphs(small + 1, most)
        if not min(self.inside + self.outside):
            split = "large" if min(self.inside) else "small"
            raise ValueError(f"small {small} leaves a class without {split} graphs: take another, of 4 to {most} nodes")
        if not all(0 < round(val_share * count) < count for count in self.inside):
            counts = " and ".join(map(str, self.inside))
            raise ValueError(f"val_share {val_share} leaves a split without graphs of one class: {counts} are small")
        if batch_size > self.spec.sizes["train"]:
            raise ValueError(f"batch_size must be at most {self.spec.sizes['train']}, got {batch_size}")

    @property
    def spec(self) -> Spec:
        val = sum(round(self.val_share * count) for count in self.inside)
        sizes = {"train": sum(self.inside) - val, "val": val, "test": sum(self.outside)}
        features = self.collection.node_labels
        arguments = {"in_features": features, "num_classes": 2, "batch_size": self.batch_size}
        return Spec(fields(*self.collection.largest(self.small), features, 2), arguments, sizes, "1")

    def prepare_data(self) -> None:
        """Downloads the files where they are missing; raises DataMissing, with the remedy, if that fails."""
        _root(self.collection)

    def load(self, split: str) -> tuple[Tensor, ...]:
        graphs = _graphs(self.collection.name, _root(self.collection))
        large = graphs["nodes"] > self.small
        if split == "test":
            return dense(graphs, large.nonzero()[:, 0], *self.collection.largest(max(self.collection.sizes)))
        own = (~large).nonzero()[:, 0]
        draw = generator(self.seed, "train", 0, 2**31)
        train, val = stratified(graphs["labels"][own], self.val_share, draw)
        return dense(graphs, own[train if split == "train" else val], *self.collection.largest(self.small))


def dense(graphs: dict[str, Tensor], chosen: Tensor, nodes: int, edges: int) -> tuple[Tensor, ...]:
    """The chosen graphs, padded to so many nodes and edges: (x, edges, mask, labels)."""
    count = len(graphs["nodes"])
    row = torch.full((count,), -1)
    row[chosen] = torch.arange(len(chosen))
    place = torch.arange(len(graphs["graph"])) - (graphs["nodes"].cumsum(0) - graphs["nodes"])[graphs["graph"]]
    own = row[graphs["graph"]] >= 0
    x = torch.zeros(len(chosen), nodes, graphs["kinds"].shape[1])
    x[row[graphs["graph"]][own], place[own]] = graphs["kinds"][own]
    source, target = graphs["edges"]
    of = row[graphs["graph"][source]]
    source, target, of = source[of >= 0], target[of >= 0], of[of >= 0]
    lists = padded(of, place[source], place[target], len(chosen), edges)
    mask = torch.arange(nodes) < graphs["nodes"][chosen][:, None]
    return x, lists, mask, graphs["labels"][chosen]


@lru_cache(maxsize=2)
def _graphs(name: str, root: Path) -> dict[str, Tensor]:
    """All graphs of a collection's files: `graph` and `kinds` of each node, `edges` (2, E), `nodes` and `labels`."""
    folder = root / "TUDataset" / name / "raw"
    read = {part: np.loadtxt(folder / f"{name}_{part}.txt", dtype=np.int64, delimiter=",", ndmin=1) for part in PARTS}
    graph = torch.from_numpy(read["graph_indicator"]) - 1
    kinds = torch.from_numpy(np.unique(read["node_labels"], return_inverse=True)[1])
    labels = torch.from_numpy(np.unique(read["graph_labels"], return_inverse=True)[1])
    edges = torch.from_numpy(read["A"]).T - 1
    found = Collection(name, int(kinds.max()) + 1, _sizes(graph, edges, labels))
    (known,) = (collection for collection in COLLECTIONS.values() if collection.name == name)
    same = found.node_labels == known.node_labels and found.sizes == known.sizes
    if not same:
        raise ValueError(f"the files in {folder} hold other graphs than {name}: remove them, or get them from {SOURCE}")
    nodes = torch.bincount(graph)
    return {"graph": graph, "kinds": F.one_hot(kinds).float(), "edges": edges, "nodes": nodes, "labels": labels}


def _sizes(graph: Tensor, edges: Tensor, labels: Tensor) -> str:
    """The text of a Collection."""
    nodes, degrees = torch.bincount(graph), torch.bincount(graph[edges[0]], minlength=len(labels))
    entries = []
    for size in nodes.unique():
        own = nodes == size
        first, second = torch.bincount(labels[own], minlength=2)[:2].tolist()
        entries.append(f"{int(size)}:{first}/{second}/{int(degrees[own].max())}")
    return " ".join(entries)


def _root(collection: Collection) -> Path:
    name = collection.name
    return provide(
        name,
        [f"TUDataset/{name}/raw/{name}_{part}.txt" for part in PARTS],
        lambda root: _download(name, root),
        f"put {', '.join(f'{name}_{part}.txt' for part in PARTS)} of {SOURCE}/{name}.zip into "
        f"{data_dir() / 'TUDataset' / name / 'raw'}",
    )


def _download(name: str, root: Path) -> None:
    folder = root / "TUDataset" / name / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    with urllib.request.urlopen(f"{SOURCE}/{name}.zip") as answer:
        archive: Any = zipfile.ZipFile(io.BytesIO(answer.read()))
    for part in PARTS:
        (folder / f"{name}_{part}.txt").write_bytes(archive.read(f"{name}/{name}_{part}.txt"))

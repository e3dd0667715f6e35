"""Data files of random content, in the form, number and classes of the real ones, for loaders that read them."""

from __future__ import annotations

import itertools
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from datamodules._tu_sizes import COLLECTIONS, Collection
from datamodules.citation_graph import GRAPHS, Counts
from datamodules.hyperedges import SETS
from datamodules.physionet2012 import CLASSES, LONGEST


def write(root: Path) -> None:
    """Writes what torchvision's loaders and ours read into a data folder."""
    generator = np.random.default_rng(0)
    for name in ("MNIST", "FashionMNIST"):
        raw = root / name / "raw"
        raw.mkdir(parents=True)
        for part, count in (("train", 60_000), ("t10k", 10_000)):
            images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
            _idx(raw / f"{part}-images-idx3-ubyte", images)
            _idx(raw / f"{part}-labels-idx1-ubyte", generator.integers(0, 10, count, dtype=np.uint8))
    _cifar(root / "cifar-10-batches-py", generator)
    _records(root / "PhysioNet2012")
    for name in ("cora", "citeseer"):
        citations(root, GRAPHS[name], generator)
    _triples(root / "HyperSAGNN", generator)
    collection(root, COLLECTIONS["proteins"])


def _idx(path: Path, array: np.ndarray) -> None:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(head + array.tobytes())


def _cifar(folder: Path, generator: np.random.Generator) -> None:
    folder.mkdir()
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
        images = generator.integers(0, 256, (10_000, 3 * 32 * 32), dtype=np.uint8)
        content = {"data": images, "labels": generator.integers(0, 10, 10_000).tolist()}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("0123456789")}))


def _records(folder: Path) -> None:
    """Short stays in intensive care, and one of the most times that there are."""
    folder.mkdir()
    half = sum(CLASSES) // 2
    for part, first in (("a", 0), ("b", half)):
        numbers = range(first, first + half)
        with zipfile.ZipFile(folder / f"set-{part}.zip", "w") as file:
            for n in numbers:
                minutes = range(1, LONGEST) if n == 0 else (30 + n % 60, 90 + n % 1000)
                measured = "".join(f"{m // 60:02d}:{m % 60:02d},HR,{60 + (n + m) % 40}\n" for m in minutes)
                known = f"00:00,Age,{20 + n % 70}\n00:00,ICUType,{n % 4 + 1}\n"
                file.writestr(f"set-{part}/{n}.txt", f"Time,Parameter,Value\n{known}{measured}")
        died = "".join(f"{n},{int(n < CLASSES[1])}\n" for n in numbers)
        (folder / f"Outcomes-{part}.txt").write_text(f"RecordID,In-hospital_death\n{died}")


def citations(root: Path, has: Counts, generator: np.random.Generator, words: int = 20) -> None:
    """Papers of so many words each, in the form of Planetoid: classes in turn, each edge once more, and a loop."""
    from scipy.sparse import csr_matrix

    edges = _pairs(has.nodes - 1000 - has.unlabelled, has.edges, generator)
    graph: dict[int, list[int]] = {node: [node] if node == 0 else [] for node in range(has.nodes)}
    for a, b in (*edges, edges[0]):
        graph[a].append(b)
        graph[b].append(a)
    first = np.resize(generator.permutation(has.features), has.nodes)  # no two that are trained on have the same words
    columns = (first[:, None] + 7 * np.arange(words)) % has.features
    rows = np.arange(0, words * has.nodes + 1, words)
    x = csr_matrix((np.ones(columns.size, np.float32), columns.ravel(), rows), (has.nodes, has.features))
    y = np.eye(has.classes, dtype=np.int32)[np.arange(has.nodes) % has.classes]
    known, train = has.nodes - 1000 - has.unlabelled, 20 * has.classes
    test = generator.permutation(1000 + has.unlabelled - 1)[:999].tolist()
    test = [known + place for place in (*test, 1000 + has.unlabelled - 1)]  # the last node is one of them
    parts = {"x": x[:train], "tx": x[known : known + 1000], "allx": x[:known], "graph": graph}
    parts |= {"y": y[:train], "ty": y[known : known + 1000], "ally": y[:known]}
    paths = {path.rpartition("ind.")[2].partition(".")[2]: root / path for path in has.files}
    paths["graph"].parent.mkdir(parents=True)
    for part, content in parts.items():
        paths[part].write_bytes(pickle.dumps(content))
    paths["test.index"].write_text("".join(f"{node}\n" for node in test))


def _pairs(nodes: int, count: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    """Pairs a < b of different nodes, each once."""
    a, b = np.sort(generator.integers(0, nodes, (2, 3 * count)), 0)
    codes = generator.permutation(np.unique((nodes * a + b)[a < b]))[:count]
    return list(zip((codes // nodes).tolist(), (codes % nodes).tolist(), strict=True))


def _triples(root: Path, generator: np.random.Generator) -> None:
    """Different triples of nodes of three types, as many as the real ones."""
    for folder, nodes, train, test in SETS.values():
        (root / folder).mkdir(parents=True)
        numbers = np.unique(generator.integers(0, np.prod(nodes), 2 * (train + test)))
        triples = np.stack(np.unravel_index(generator.permutation(numbers)[: train + test], nodes), 1)
        for split, part in (("train", triples[:train]), ("test", triples[train:])):
            arrays: dict[str, Any] = {f"{split}_data": part, "nums_type": np.array(nodes)}
            np.savez(root / folder / f"{split}_data.npz", **arrays)


def collection(root: Path, known: Collection) -> None:
    """TUDataset's files of graphs of the known sizes: of each size one with the most edges, the others paths."""
    folder = root / "TUDataset" / known.name / "raw"
    folder.mkdir(parents=True)
    graphs, labels, edges, first = [], [], [], 1
    for nodes, (some, others, most) in known.sizes.items():
        path = [(a, a - 1) for a in range(1, nodes)]
        more = itertools.islice(((a, b) for a in range(nodes) for b in range(a - 1)), most // 2 - len(path))
        starts = range(first, first + nodes * (some + others), nodes)
        pairs = [(start + a, start + b) for start in starts for a, b in path] + [
            (first + a, first + b) for a, b in more
        ]
        edges += [f"{a}, {b}\n{b}, {a}" for a, b in pairs]
        graphs += [nodes] * (some + others)
        labels += ["1"] * some + ["2"] * others
        first += nodes * (some + others)
    content = {
        "A": edges,
        "graph_indicator": [str(number) for number, nodes in enumerate(graphs, 1) for _ in range(nodes)],
        "graph_labels": labels,
        "node_labels": [str(number % known.node_labels) for number in range(first - 1)],
    }
    for part, lines in content.items():
        (folder / f"{known.name}_{part}.txt").write_text("\n".join(lines) + "\n")

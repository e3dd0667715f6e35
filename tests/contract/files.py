"""Data files of random content, in the form, number and classes of the real ones, for loaders that read them."""

from __future__ import annotations

import itertools
import pickle
import zipfile
from pathlib import Path

import numpy as np

from datamodules._tu_sizes import COLLECTIONS, Collection
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

"""Graphs with motifs, and collections whose small graphs are trained on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules import DataMissing, MotifGraphs, TUGraphs
from datamodules import tu_graphs as module
from datamodules._tu_sizes import COLLECTIONS
from tests.contract.files import collection


def graph(edges: torch.Tensor, nodes: range) -> Counter[int]:
    """How often each degree occurs among the nodes, of edges within them."""
    inside = {(int(a), int(b)) for a, b in edges.T if int(a) in nodes and int(b) in nodes}
    return Counter(sum(a == node for a, _ in inside) for node in nodes)


def test_without_noise_a_graph_is_its_parts() -> None:
    """A wheel has degrees 5 and 3, a star 5 and 1."""
    data = MotifGraphs(noise=0.0, train_size=64, batch_size=64)
    x, edges, mask, labels, star = data.load("train")
    for number in range(64):
        own = edges[number][:, edges[number, 0] >= 0]
        assert set(map(tuple, own.T.tolist())) == set(map(tuple, own.flip(0).T.tolist()))
        assert (graph(own, range(6)) == Counter({3: 5, 5: 1})) == bool(labels[number])
        assert (graph(own, range(6, 12)) == Counter({1: 5, 5: 1})) == bool(star[number])
        count = int(mask[number].sum())
        assert int(own.max()) < count
        if labels[number]:  # 10 of the wheel, 5 of the companion, a tree of the other nodes, and a tie of either
            assert own.shape[1] // 2 == 10 + 5 + (count - 12 - 1) + 2
    assert torch.equal(x[..., 0].bool(), mask)


def test_the_star_says_as_much_as_asked_and_nothing_in_the_test_split() -> None:
    """Four deviations of a share of 1,000 graphs of a class are allowed."""
    data = MotifGraphs(mu=0.8, train_size=2000, test_size=2000)
    for split, rate in (("train", 0.8), ("test", 0.5)):
        *_, labels, star = data.load(split)
        assert int(labels.sum()) == 1000
        allowed = 4 * (rate * (1 - rate) / 1000) ** 0.5
        assert float(star[labels == 1].float().mean()) == pytest.approx(rate, abs=allowed)
        assert float(star[labels == 0].float().mean()) == pytest.approx(1 - rate, abs=allowed)


def test_graphs_belong_to_the_seed_and_the_split() -> None:
    one, same, other = (MotifGraphs(seed=seed, train_size=8, batch_size=8).load("train")[1] for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mu": 1.0}, r"mu must lie in \(0, 1\), so that every pair of motifs occurs, got 1.0"),
        ({"noise": -1.0}, "noise must be finite and not negative"),
        ({"smallest": 9, "largest": 8}, "smallest <= largest, got 9 and 8"),
        ({"train_size": 1}, "train_size must be at least 2"),
        ({"batch_size": 1000}, "batch_size must be at most train_size, 512, got 1000"),
    ],
)
def test_bad_motifs_are_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MotifGraphs(**arguments)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    collection(tmp_path, COLLECTIONS["mutag"])
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ZOO_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "TUDataset" / "MUTAG" / "raw"


def mutag(**arguments: Any) -> TUGraphs:
    return TUGraphs(**{"name": "mutag", "small": 17, "batch_size": 16, **arguments})


def test_small_graphs_are_trained_on_and_all_larger_ones_tested(files: Path) -> None:
    parts = {split: mutag().load(split) for split in ("train", "val", "test")}
    sizes = {split: part[2].sum(1) for split, part in parts.items()}
    assert max(int(sizes[split].max()) for split in ("train", "val")) == 17
    assert int(sizes["test"].min()) == 18
    assert {split: len(size) for split, size in sizes.items()} == dict(mutag().spec.sizes)
    known = [nodes for nodes, (a, b, _) in COLLECTIONS["mutag"].sizes.items() for _ in range(a + b)]
    assert sorted(int(n) for size in sizes.values() for n in size) == known
    assert all(len(part[3].unique()) == 2 for part in parts.values())
    assert not torch.equal(mutag().load("val")[1], mutag(seed=1).load("val")[1])
    assert torch.equal(mutag().load("test")[1], mutag(seed=1).load("test")[1])


def test_graphs_are_those_that_torch_geometric_reads(files: Path) -> None:
    read = pytest.importorskip("torch_geometric.io").read_tu_data
    data, slices, _ = read(str(files), "MUTAG")
    x, edges, mask, labels = mutag().load("test")
    large = [n for n in range(188) if slices["x"][n + 1] - slices["x"][n] > 17]
    for row, number in enumerate(large):
        nodes, own = (slice(int(slices[k][number]), int(slices[k][number + 1])) for k in ("x", "edge_index"))
        assert torch.equal(x[row][mask[row]], data.x[nodes])
        mine = edges[row][:, edges[row, 0] >= 0].T.tolist()
        assert sorted(mine) == sorted((data.edge_index[:, own]).T.tolist())
        assert int(labels[row]) == int(data.y[number] > data.y.min())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "enzymes"}, "name must be one of 'mutag', 'proteins', got 'enzymes'"),
        ({"small": 10}, "small 10 leaves a class without small graphs"),
        ({"small": 26}, "small 26 leaves a class without large graphs"),
        ({"val_share": 0.001}, "val_share 0.001 leaves a split without graphs of one class"),
        ({"val_share": 1.0}, r"val_share must lie in \(0, 1\)"),
        ({"batch_size": 1000}, "batch_size must be at most"),
    ],
)
def test_a_split_without_one_class_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mutag(**arguments)


def test_files_of_other_graphs_are_refused(files: Path) -> None:
    labels = np.loadtxt(files / "MUTAG_graph_labels.txt", dtype=int)
    np.savetxt(files / "MUTAG_graph_labels.txt", -labels, fmt="%d")
    module._graphs.cache_clear()
    with pytest.raises(ValueError, match="hold other graphs than MUTAG"):
        mutag().load("train")


def test_missing_files_are_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("no network")

    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ZOO_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(module.urllib.request, "urlopen", refuse)
    with pytest.raises(DataMissing, match=r"MUTAG_graph_labels\.txt.*no network.*put MUTAG_A\.txt"):
        mutag().prepare_data()

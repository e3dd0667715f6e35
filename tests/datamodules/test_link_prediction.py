"""Missing links: splits of edges, and pairs that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules import CitationLinks, TreeLinks
from datamodules._arrays import generator
from datamodules.citation_graph import GRAPHS
from datamodules.link_prediction import absent, numbered
from tests.contract import files


def as_set(pairs: Tensor) -> set[tuple[int, int]]:
    return {(min(a, b), max(a, b)) for a, b in pairs.T.tolist()}


def test_every_pair_that_is_no_edge_has_one_number() -> None:
    edges = {(0, 1), (1, 4), (2, 3), (0, 4)}
    taken = torch.tensor(sorted(b * (b - 1) // 2 + a for a, b in edges))
    every = {(a, b) for b in range(6) for a in range(b)}
    found = numbered(torch.arange(15 - len(edges)), taken)
    assert len(as_set(found)) == 15 - len(edges)
    assert as_set(found) == every - edges


def test_numbers_of_large_graphs_are_exact() -> None:
    """At triangular numbers the square root is a whole number, up to rounding."""
    high = torch.tensor([2, 3, 1000, 94_906_267, 3_000_000_000 // 2])
    for low in (torch.zeros_like(high), high - 1):
        found = numbered(high * (high - 1) // 2 + low, torch.tensor([], dtype=torch.int64))
        assert torch.equal(found, torch.stack([low, high]))


def test_pairs_are_drawn_uniformly() -> None:
    drawn = absent(torch.tensor([[0, 2], [1, 0]]), 5, 80_000, generator(0, "train", 0))
    assert bool((drawn[0] < drawn[1]).all())
    counts = (drawn[0] * 5 + drawn[1]).unique(return_counts=True)[1]
    assert len(counts) == 10 - 2
    assert float(((counts - 10_000) ** 2 / 10_000).sum()) < 24.3  # chi-squared, 7 degrees of freedom: one in a thousand


def test_a_complete_graph_has_none_to_draw() -> None:
    with pytest.raises(ValueError, match="all pairs of the 3 nodes are edges: there is none to draw"):
        absent(torch.tensor([[0, 0, 1], [1, 2, 2]]), 3, 1, generator(0, "train", 0))


def test_splits_share_the_edges_out_and_messages_go_along_training_edges_alone() -> None:
    data = TreeLinks(nodes=200, reach=1, seed=3)
    edges = as_set(data.graph[1])
    splits = {split: data.load(split) for split in ("train", "val", "test")}
    own = {split: as_set(pairs[0][:, linked[0]]) for split, (_, _, pairs, linked) in splits.items()}
    assert [len(own[split]) for split in own] == [199 - 10 - 20, 10, 20]
    assert set.union(*own.values()) == edges
    for split, (_, messages, pairs, linked) in splits.items():
        assert as_set(messages[0]) == own["train"]
        assert messages.shape[2] == 2 * len(own["train"])
        assert torch.equal(messages[0].flip(0).unique(dim=1), messages[0].unique(dim=1))
        none = as_set(pairs[0][:, ~linked[0]])
        assert not none & (own["train"] if split == "train" else edges)
        assert int(linked.sum()) == int((~linked).sum())


def test_every_epoch_has_its_own_pairs_without_a_link_and_they_can_be_drawn_again() -> None:
    def pairs(epoch: int, seed: int = 0) -> Tensor:
        loader = TreeLinks(nodes=100, seed=seed).train_dataloader()
        loader.set_epoch(epoch)
        found: Tensor = next(iter(loader))[2][0]
        return found

    half = pairs(0).shape[1] // 2
    assert torch.equal(pairs(1), pairs(1))
    assert as_set(pairs(0)[:, half:]) != as_set(pairs(1)[:, half:])
    assert torch.equal(pairs(0)[:, :half], pairs(1)[:, :half])
    assert as_set(pairs(0)[:, :half]) != as_set(pairs(0, seed=1)[:, :half])


def test_training_may_draw_held_out_edges_as_it_knows_nothing_of_them() -> None:
    data = TreeLinks(nodes=8, reach=1, val_share=0.2, test_share=0.2)
    held_out = as_set(data.parted["val"]) | as_set(data.parted["test"])
    loader, drawn = data.train_dataloader(), set()
    for epoch in range(60):
        loader.set_epoch(epoch)
        drawn |= as_set(next(iter(loader))[2][0, :, data.counts["train"] :])
    assert held_out < drawn
    assert not drawn & as_set(data.parted["train"])


@pytest.fixture
def fake_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.citations(tmp_path, GRAPHS["cora"], np.random.default_rng(0))
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))


@pytest.mark.usefixtures("fake_files")
def test_citations_are_parted_as_trees_are() -> None:
    data = CitationLinks("cora")
    assert data.counts == {"train": 5278 - 264 - 528, "val": 264, "test": 528}
    graph = data.citations.load("train")
    assert as_set(data.graph[1]) == as_set(graph[1][0])
    assert torch.equal(data.load("test")[0], graph[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"val_share": 0.0}, r"val_share must lie in \(0, 1\), got 0"),
        ({"test_share": 1.5}, r"test_share must lie in \(0, 1\), got 1.5"),
        ({"val_share": 0.5, "test_share": 0.5}, "every split needs one"),
    ],
)
def test_shares_that_leave_nothing_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TreeLinks(**arguments)

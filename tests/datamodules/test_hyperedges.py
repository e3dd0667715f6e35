"""Hyperedges: negatives that are none, in their shares; splits; files; and made ones of several sizes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from datamodules import DataMissing, HyperedgeTriples, PlantedHyperedges, hyperedges
from datamodules._hyperedges import PER_POSITIVE, Corruption

SETS = {"gps": ("GPS", (30, 12, 4), 300, 60)}


@pytest.fixture
def triples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """A file of 300 triples to train on and one of 60, ten of which are among the former; five come twice."""
    drawn = np.random.default_rng(0).permutation(30 * 12 * 4)[:360]
    made = np.stack(np.unravel_index(drawn, (30, 12, 4)), 1)
    folder = tmp_path / "data" / "HyperSAGNN" / "GPS"
    folder.mkdir(parents=True)
    train, test = np.concatenate([made[:300], made[:5]]), np.concatenate([made[300:].astype(float), made[:10]])
    np.savez(folder / "train_data.npz", train_data=train, nums_type=[30, 12, 4], labels=np.array(["a", None]))
    np.savez(folder / "test_data.npz", test_data=test, nums_type=[30, 12, 4])
    monkeypatch.setattr(hyperedges, "SETS", SETS)
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ZOO_CACHE_DIR", str(tmp_path / "cache"))
    return made


def rows(hyperedges: torch.Tensor) -> set[tuple[int, ...]]:
    return set(map(tuple, hyperedges.sort(1).values.tolist()))


def test_splits_are_the_distinct_triples_of_the_files_in_the_numbers_of_all_nodes(triples: np.ndarray) -> None:
    positives = HyperedgeTriples().positives
    assert {split: len(part) for split, part in positives.items()} == {"train": 270, "val": 30, "test": 60}
    shifted = torch.from_numpy(triples + np.array([0, 30, 42]))
    assert rows(torch.cat([positives["train"], positives["val"]])) == rows(shifted[:300])
    assert rows(positives["test"]) == rows(shifted[300:])
    other = HyperedgeTriples(seed=1).positives
    assert rows(other["val"]) != rows(positives["val"])
    assert rows(other["test"]) == rows(positives["test"])


def test_every_node_of_the_file_is_trained_on(triples: np.ndarray) -> None:
    for seed in range(5):
        positives = HyperedgeTriples(val_share=0.25, seed=seed).positives
        assert set(positives["val"].flatten().tolist()) <= set(positives["train"].flatten().tolist())


def test_negatives_are_unknown_and_of_the_same_types(triples: np.ndarray) -> None:
    data = HyperedgeTriples()
    positives = data.positives
    known = rows(positives["train"])
    drawn = torch.cat([data._negatives("train", torch.Generator().manual_seed(n)) for n in range(3)]).flatten(0, 1)
    assert not rows(drawn) & known
    assert rows(drawn) & rows(positives["val"])  # of these training knows nothing
    for split in ("val", "test"):
        known |= rows(positives[split])
        batch, labels = data.load(split)
        assert rows(batch[labels == 1]) == rows(positives[split])
        assert int((labels == 0).sum()) == PER_POSITIVE * len(positives[split])
        assert not rows(batch[labels == 0]) & known
    types = torch.bucketize(drawn, torch.tensor([30, 42]), right=True)
    assert torch.equal(types, torch.tensor([0, 1, 2]).expand_as(types))


def test_nine_of_ten_negatives_differ_in_one_node() -> None:
    nodes, count = [1000, 1000, 1000], 20_000
    draw = torch.Generator().manual_seed(0)
    base = torch.randint(1000, (count, 3), generator=draw) + torch.tensor([0, 1000, 2000])
    made = Corruption(nodes, base).negatives(base, draw)
    differ = made != base.repeat_interleave(PER_POSITIVE, 0)
    changes = differ.sum(1).bincount(minlength=4) / len(made)
    assert float(changes[1]) == pytest.approx(0.9, abs=0.005)  # five deviations; all changed is rarely by chance fewer
    assert float(changes[3]) == pytest.approx(0.1, abs=0.005)
    places = differ[differ.sum(1) == 1].float().mean(0)
    assert places.tolist() == pytest.approx([1 / 3] * 3, abs=0.01)


def test_where_no_other_node_is_left_all_are_changed_and_where_no_triple_is_it_is_refused() -> None:
    full = torch.cartesian_prod(torch.tensor([0, 1]), torch.tensor([2, 3]), torch.tensor([4, 5]))
    known = full[:-1]  # all but (1, 3, 5), which three of them could be by one change
    made = Corruption([2, 2, 2], known).negatives(known, torch.Generator().manual_seed(0))
    assert rows(made) == {(1, 3, 5)}
    with pytest.raises(ValueError, match="no negatives are left to be drawn"):
        Corruption([2, 2, 2], full).negatives(full, torch.Generator().manual_seed(0))


def test_an_outsider_is_the_one_node_that_was_replaced(triples: np.ndarray) -> None:
    data = HyperedgeTriples()
    made, places = data.replaced("test")
    again, _ = data.replaced("test")
    assert torch.equal(made, again)
    assert not rows(made) & rows(torch.cat(list(data.positives.values())))
    differ = made != data.positives["test"] if len(made) == 60 else None
    assert differ is None or torch.equal(differ.float().argmax(1), places)
    assert differ is None or bool((differ.sum(1) == 1).all())


def test_a_batch_is_a_function_of_seed_epoch_and_position(triples: np.ndarray) -> None:
    one, other = (HyperedgeTriples(batch_size=100).loader("train") for _ in range(2))
    other.batch(5, 1)
    for epoch, position in ((3, 2), (0, 0), (3, 0)):
        pair = one.batch(epoch, position), other.batch(epoch, position)
        assert all(torch.equal(a, b) for a, b in zip(*pair, strict=True))
    batches = [one.batch(3, position) for position in range(len(one))]
    positives = torch.cat([x[y == 1] for x, y in batches])
    assert rows(positives) == rows(HyperedgeTriples().positives["train"])
    assert [len(x) for x, _ in batches] == [600, 600, 420]
    assert not torch.equal(one.batch(3, 0)[0], one.batch(4, 0)[0])


def test_the_same_negatives_are_tested_in_each_epoch_and_others_by_another_seed(triples: np.ndarray) -> None:
    batches = [HyperedgeTriples(seed=seed).load("test")[0] for seed in (0, 0, 1)]
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])


def test_numbers_out_of_range_and_other_files_are_refused(triples: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hyperedges, "SETS", {"gps": ("GPS", (30, 12, 3), 300, 60)})
    with pytest.raises(ValueError, match="expected numbers below 3 in column 2, got 3: fetch the file anew"):
        _ = HyperedgeTriples().positives
    monkeypatch.setattr(hyperedges, "SETS", {"gps": ("GPS", (30, 12, 4), 301, 60)})
    with pytest.raises(ValueError, match=r"expected \(301, 60\) different triples, got \(300, 60\)"):
        _ = HyperedgeTriples().positives


def test_missing_files_are_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ZOO_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    with pytest.raises(DataMissing, match=r"put GPS/train_data.npz and GPS/test_data.npz of https.* into .*HyperSAGNN"):
        HyperedgeTriples().prepare_data()


def test_a_download_with_another_sum_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ZOO_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_: io.BytesIO(b"something else"))
    with pytest.raises(DataMissing, match=r"SHA-256 \w+, expected cb0b000a"):
        HyperedgeTriples().prepare_data()
    assert not list(tmp_path.rglob("*.npz"))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: HyperedgeTriples("books"), "name must be one of 'gps', 'movielens', 'drug', 'wordnet', got 'books'"),
        (lambda: HyperedgeTriples(val_share=0.5), r"in \(0, 0.25\], got 0.5"),
        (lambda: HyperedgeTriples(val_share=1e-5), "val_share must hold back a triple"),
        (lambda: PlantedHyperedges(groups=1), "groups must be at least 2, got 1"),
        (lambda: PlantedHyperedges(least=5, most=4), "2 <= least <= most <= members, got 5, 4 and 12"),
        (lambda: PlantedHyperedges(most=13), "2 <= least <= most <= members, got 3, 13 and 12"),
        (lambda: PlantedHyperedges(test_size=0), "test_size must be at least 1, got 0"),
        (lambda: PlantedHyperedges(train_size=2000), "at most half of the 2200 hyperedges of 3 nodes"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()


def test_planted_hyperedges_are_different_sets_within_groups_of_all_sizes() -> None:
    data = PlantedHyperedges()
    every = torch.cat(list(data.positives.values()))
    assert len(rows(every)) == len(every) == 1000
    assert bool(data.within(every).all())
    sizes = (every >= 0).sum(1)
    assert sizes.unique().tolist() == [3, 4, 5, 6]
    assert all(len(set(row[:size])) == size for row, size in zip(every.tolist(), sizes.tolist(), strict=True))
    assert bool((every.sort(1, descending=True).values >= 0).eq(every >= 0).all())  # what is none comes last
    assert not bool(data.within(torch.tensor([[0, 1, 12, -1]])).any())


def test_a_negative_of_several_sizes_keeps_its_size_and_no_node_comes_twice() -> None:
    data = PlantedHyperedges()
    hyperedges_, labels = data.load("test")
    sizes = (hyperedges_ >= 0).sum(1)
    assert torch.equal(sizes[labels == 0], sizes[labels == 1].repeat_interleave(PER_POSITIVE))
    assert all(len(set(row[:size])) == size for row, size in zip(hyperedges_.tolist(), sizes.tolist(), strict=True))


def test_hyperedges_too_many_to_number_are_refused() -> None:
    with pytest.raises(ValueError, match="hyperedges of 10 among 1000 nodes are too many to be numbered"):
        Corruption([1000], torch.arange(10)[None])


@pytest.mark.slow  # it compares times: of an idle machine
def test_negatives_cost_less_than_a_twentieth_of_training() -> None:
    """As many as a step needs, beside a step of the model on one batch: medians of processor time."""
    data = PlantedHyperedges(train_size=960, val_size=10, test_size=10)
    model: Any = zoo.create("HyperSAGNN", **data.spec.arguments)
    model.read(data.positives["train"])
    batch, steps = data.loader("train").batch(0, 0), len(data.loader("train"))

    def seconds(work: Callable[..., Any], *arguments: Any) -> float:
        start = time.process_time()
        work(*arguments)
        return time.process_time() - start

    def training() -> None:
        model.step(batch)["loss"].backward()

    drawing = median(seconds(data._negatives, "train", torch.Generator()) for _ in range(5))
    stepping = median(seconds(training) for _ in range(5))
    assert drawing / steps < stepping / 20

"""Graphs of papers from small files that are written here in the form of Planetoid, and from the real ones if here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules import CitationGraph, DataMissing
from datamodules import citation_graph as module
from datamodules._files import root_of
from tests.contract.files import citations

SMALL = module.Counts("CiteSeer", nodes=1715, features=50, classes=6, edges=2000, unlabelled=15)
SPLITS = ("train", "val", "test")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a graph of 700 papers to learn from, 1,000 to test on and 15 of no class."""
    monkeypatch.setitem(module.GRAPHS, "citeseer", SMALL)
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ZOO_CACHE_DIR", str(tmp_path / "cache"))
    citations(tmp_path / "data", SMALL, np.random.default_rng(0), words=5)
    return tmp_path / "data"


def test_edges_come_twice_and_neither_loops_nor_copies_are_among_them(small: Path) -> None:
    _, edges, _, _ = CitationGraph("citeseer").load("train")
    source, target = edges[0]
    pairs = set(zip(source.tolist(), target.tolist(), strict=True))
    assert len(pairs) == edges.shape[-1] == 2 * SMALL.edges
    assert {(b, a) for a, b in pairs} == pairs
    assert not bool((source == target).any())


def test_the_public_split_is_disjoint_and_leaves_out_what_has_no_class(small: Path) -> None:
    masks = torch.stack([CitationGraph("citeseer").load(split)[3][0] for split in SPLITS])
    assert masks.sum(1).tolist() == [120, 500, 1000]
    assert int(masks.sum(0).max()) == 1
    assert masks[0].nonzero()[:, 0].tolist() == list(range(120))


def test_features_of_a_paper_sum_to_one_unless_it_has_no_words(small: Path) -> None:
    x = CitationGraph("citeseer").load("train")[0][0]
    plain = CitationGraph("citeseer", normalise=False).load("train")[0][0]
    empty = plain.sum(1) == 0
    assert int(empty.sum()) == 15
    assert plain.unique().tolist() == [0, 1]
    torch.testing.assert_close(x[~empty].sum(1), torch.ones(1700))
    assert not x[empty].any()


def test_random_splits_share_out_every_node_of_a_class_and_no_other(small: Path) -> None:
    def masks(seed: int) -> torch.Tensor:
        data = CitationGraph("citeseer", split="random", train_share=0.3, val_share=0.2, seed=seed)
        return torch.stack([data.load(split)[3][0] for split in SPLITS])

    one, other = masks(0), masks(1)
    words = CitationGraph("citeseer").load("train")[0][0].any(1)
    assert one.sum(1).tolist() == [510, 340, 850]
    assert torch.equal(one.sum(0), words.long())
    assert torch.equal(one, masks(0))
    assert not torch.equal(one[0], other[0])


def test_shuffled_labels_are_those_of_the_split_at_other_nodes(small: Path) -> None:
    given, shuffled, other = (
        CitationGraph("citeseer", shuffled=deal, seed=seed).load("train")[2:]
        for deal, seed in ((False, 0), (True, 0), (True, 1))
    )
    (labels, mask), dealt = given, shuffled[0]
    assert torch.equal(dealt[mask].bincount(), labels[mask].bincount())
    assert torch.equal(dealt[~mask], labels[~mask])
    assert float((dealt == labels)[mask].float().mean()) < 0.4  # of 120 nodes of six classes a sixth, on average
    assert not torch.equal(dealt, other[0])


def test_a_share_that_leaves_a_class_empty_is_refused(small: Path) -> None:
    data = CitationGraph("citeseer", split="random", train_share=0.002, seed=0)
    with pytest.raises(ValueError, match=r"train_share 0.002 .* seed 0 leave no node of classes \[.*\] in the train"):
        data.load("train")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "Cora"}, "name must be one of 'cora', 'citeseer', 'pubmed', got 'Cora'"),
        ({"split": "full"}, "split must be one of 'public', 'random', got 'full'"),
        ({"split": "random", "train_share": 0.0}, r"train_share must lie in \(0, 1\), got 0.0"),
        ({"split": "random", "val_share": float("nan")}, r"val_share must lie in \(0, 1\), got nan"),
        ({"split": "random", "train_share": 0.6, "val_share": 0.4}, "must leave some nodes to test on"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CitationGraph(**arguments)


def test_files_of_another_graph_are_refused(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.GRAPHS, "citeseer", module.Counts("CiteSeer", 1715, 50, 6, 1999, unlabelled=15))
    with pytest.raises(ValueError, match=r"raw is not CiteSeer: it has \(1715, 50, 6, 4000\) nodes, .* 3998"):
        CitationGraph("citeseer").load("train")


def test_reading_leaves_the_data_folder_as_it_was(small: Path) -> None:
    before = sorted(small.rglob("*"))
    CitationGraph("citeseer").load("train")
    assert sorted(small.rglob("*")) == before


def test_a_download_keeps_the_raw_files_alone(small: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch_geometric.datasets

    class Planetoid:
        def __init__(self, root: str, name: str) -> None:
            self.raw_dir = Path(root) / name / "raw"
            citations(Path(root), SMALL, np.random.default_rng(0), words=5)
            self.raw_dir.parent.mkdir()
            (Path(root) / "Planetoid" / name / "raw").rename(self.raw_dir)
            (Path(root) / name / "processed").mkdir()

    monkeypatch.setattr(torch_geometric.datasets, "Planetoid", Planetoid)
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path / "elsewhere"))
    data = CitationGraph("citeseer")
    data.prepare_data()
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if "data" not in path.parts}
    files = {path for path in found if "ind." in path}
    assert len(files) == len(module.PARTS)
    assert not any("processed" in path for path in found)
    assert data.load("test")[3].sum() == 1000


def test_without_files_and_network_the_error_says_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object, root: Path) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(CitationGraph, "_download", fails)
    with pytest.raises(DataMissing, match=r"CitationGraph pubmed: no .*ind\.pubmed\.x.* put the files of PubMed"):
        CitationGraph("pubmed").prepare_data()


@pytest.mark.parametrize("name", list(module.GRAPHS))
def test_the_real_files_hold_what_is_promised(name: str) -> None:
    has = module.GRAPHS[name]
    if not root_of(has.files):
        pytest.skip(f"the files of {has.folder} are not here")
    data = CitationGraph(name)
    x, edges, labels, train = (tensor[0] for tensor in data.load("train"))  # counts are compared on load
    assert torch.equal(labels[train].bincount(), torch.full((has.classes,), 20))
    assert [int(data.load(split)[3].sum()) for split in ("val", "test")] == [500, 1000]
    assert int((x.sum(1) == 0).sum()) == has.unlabelled
    assert has.nodes - len(edges.unique()) == {"cora": 0, "citeseer": 48, "pubmed": 0}[name]

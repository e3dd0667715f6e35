"""Trees: who is whose parent, what is inherited, and who falls ill."""

from __future__ import annotations

import math
from typing import Any

import networkx
import pytest
import torch

from datamodules import TreeLinks, TreeNodes
from datamodules._arrays import generator
from datamodules.trees import inherited, parents


def walked(parent: list[int], node: int) -> list[int]:
    """A node and its ancestors."""
    return [node] + (walked(parent, parent[node - 1]) if node else [])


def test_a_balanced_tree_has_full_levels() -> None:
    parent = parents("balanced", 40, 3, generator(0, "train", 0)).tolist()
    depth = [len(walked(parent, node)) - 1 for node in range(40)]
    assert [depth.count(level) for level in range(4)] == [1, 3, 9, 27]
    assert {parent.count(node) for node in range(13)} == {3}


def test_a_random_tree_hangs_together_and_any_earlier_node_may_be_a_parent() -> None:
    drawn = torch.stack([parents("random", 5, 2, generator(seed, "train", 0)) for seed in range(400)])
    assert bool((drawn < torch.arange(1, 5)).all())
    last = drawn[:, -1].bincount(minlength=4)
    assert bool((last > 100 - 5 * 75**0.5).all()), "uniform: five deviations of a count below its mean"


@pytest.mark.parametrize("kind", ["balanced", "random"])
def test_sums_over_ancestors_are_those_of_a_walk_to_the_root(kind: str) -> None:
    parent = parents(kind, 60, 2, generator(1, "train", 0))
    own = torch.randn(60, 2, generator=torch.Generator().manual_seed(0)).double()
    expected = torch.stack([own[walked(parent.tolist(), node)].sum(0) for node in range(60)])
    torch.testing.assert_close(inherited(parent, own), expected)


def test_the_deepest_tree_is_summed_to_its_root() -> None:
    chain = parents("balanced", 50, 1, generator(0, "train", 0))
    assert inherited(chain, torch.ones(50)).tolist() == list(range(1, 51))


@pytest.mark.parametrize(("kind", "branching"), [("balanced", 3), ("balanced", 1), ("random", 2)])
@pytest.mark.parametrize("reach", [1, 2])
def test_links_are_the_pairs_within_reach(kind: str, branching: int, reach: int) -> None:
    data = TreeLinks(kind, nodes=50, branching=branching, reach=reach, seed=4)
    tree = networkx.Graph(data.branches.T.tolist())
    assert networkx.is_tree(tree)
    near = {(a, b) for a, far in networkx.all_pairs_shortest_path_length(tree, reach) for b in far if a < b}
    assert set(map(tuple, data.graph[1].T.tolist())) == near
    assert data.size == (50, 50, len(near))
    assert sum(data.counts.values()) == len(near)


def test_a_disease_is_had_where_no_ancestor_is_immune() -> None:
    data = TreeNodes(nodes=121, seed=2)
    features, edges, labels, _ = (tensor[0] for tensor in data.load("train"))
    parent = edges[0, :120].tolist()
    immune = features[:, 0] <= 0.15
    for node in range(121):
        ancestors = walked(parent, node)
        assert bool(labels[node]) == (not immune[ancestors[:-1]].any()), "the root has it in any case"
    assert int(labels[0]) == 1


def test_the_nodes_are_shared_out_among_the_splits() -> None:
    data = TreeNodes(nodes=1000)
    masks = torch.stack([data.load(split)[3][0] for split in ("train", "val", "test")])
    assert masks.sum(0).tolist() == [1] * 1000
    assert masks.sum(1).tolist() == [300, 100, 600]
    assert not torch.equal(
        masks, torch.stack([TreeNodes(nodes=1000, seed=1).load(s)[3][0] for s in ("train", "val", "test")])
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "palm"}, "kind must be one of 'balanced', 'random', got 'palm'"),
        ({"nodes": 7}, "nodes must be at least 8, got 7"),
        ({"branching": 0}, "branching must be at least 1, got 0"),
        ({"nodes": 8.5}, r"nodes must be a whole number, got 8\.5"),
    ],
)
@pytest.mark.parametrize("kind", [TreeLinks, TreeNodes])
def test_what_is_no_tree_is_refused(kind: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**arguments)


def test_other_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="reach must be 1 or 2, got 3"):
        TreeLinks(reach=3)
    with pytest.raises(ValueError, match=r"all pairs of the 8 nodes are edges, none is left .* take more nodes"):
        TreeLinks(nodes=8, branching=7)
    with pytest.raises(ValueError, match="features must be at least 1, got 0"):
        TreeNodes(features=0)
    with pytest.raises(ValueError, match=r"transmission must lie in \(0, 1\], got 0"):
        TreeNodes(transmission=0.0)
    with pytest.raises(ValueError, match=r"val_share must lie in \(0, 1\), got nan"):
        TreeNodes(val_share=math.nan)
    with pytest.raises(ValueError, match=r"train_share 0\.9 and val_share 0.1 leave .* each needs one"):
        TreeNodes(train_share=0.9)
    with pytest.raises(ValueError, match="all train nodes are of one class with seed 0 and transmission 1"):
        TreeNodes(transmission=1.0).load("train")

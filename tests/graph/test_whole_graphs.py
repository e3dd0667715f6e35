"""Networks that tell whole graphs apart: what changes no prediction, and what the reweighted one is at its limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from benchmarks import train
from datamodules import MotifGraphs
from zoo.graph import _whole_graphs as module


def model(name: str = "GIN", **arguments: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"in_features": 1, "num_classes": 2, "hidden_features": 8, **arguments}
    return zoo.create(name, **sizes).double().eval()


def batch(size: int = 6) -> tuple[Tensor, ...]:
    x, edges, mask, *rest = MotifGraphs(train_size=size, batch_size=size).load("train")
    return x.double(), edges, mask, *rest


@pytest.mark.parametrize("readout", ["mean", "sum"])
def test_neither_the_order_of_nodes_nor_that_of_edges_matters(readout: str) -> None:
    gin, (x, edges, mask, *_) = model(readout=readout), batch()
    order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(1))
    place = torch.cat([order.argsort(), torch.tensor([-1])])  # -1 stays itself
    shuffled = place[edges].flip(2)
    torch.testing.assert_close(gin(x[:, order], shuffled, mask[:, order]), gin(x, edges, mask))


@pytest.mark.parametrize("readout", ["mean", "sum"])
def test_padding_does_not_matter_and_large_graphs_are_summed_as_small_ones(readout: str) -> None:
    """With 200 nodes more, the sum goes over a list of edges in place of dense matrices."""
    gin, (x, edges, mask, *_) = model(readout=readout), batch()
    more = torch.nn.functional.pad
    wide = more(x, (0, 0, 0, 200), value=7.0), more(edges, (0, 5), value=-1), more(mask, (0, 200))
    assert module.Neighbours(edges, x.shape[1], x).dense
    assert not module.Neighbours(wide[1], wide[0].shape[1], wide[0]).dense
    torch.testing.assert_close(gin(*wide), gin(x, edges, mask))


def test_a_layer_is_its_equation() -> None:
    """A path of three nodes and a node alone, by hand."""
    encoder = model(layers=1, readout="sum").encoder
    x = torch.tensor([[[1.0], [2.0], [3.0], [5.0]]], dtype=torch.float64)
    edges = torch.tensor([[[0, 1, 1, 2, -1], [1, 0, 2, 1, -1]]])
    sums = torch.tensor([[1.0 + 2], [2.0 + 1 + 3], [3.0 + 2], [5.0]], dtype=torch.float64)
    expected = encoder.layers[0](sums).relu().sum(0)
    torch.testing.assert_close(encoder(x, edges, torch.ones(1, 4, dtype=torch.bool))[0], expected)


def test_two_triangles_and_a_ring_of_six_look_alike_to_it() -> None:
    """The Weisfeiler-Leman test cannot tell them apart either; a path of six differs."""
    ring = [(n, (n + 1) % 6) for n in range(6)]
    triangles = [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3)]
    path = ring[:5]
    graphs = [torch.tensor([*g, *((b, a) for a, b in g)]).T for g in (ring, triangles, path)]
    edges = torch.stack([torch.nn.functional.pad(g, (0, 12 - g.shape[1]), value=-1) for g in graphs])
    x, mask = torch.ones(3, 6, 1, dtype=torch.float64), torch.ones(3, 6, dtype=torch.bool)
    one, same, other = model()(x, edges, mask)
    torch.testing.assert_close(one, same)
    assert not torch.allclose(one, other)


def test_it_agrees_with_torch_geometric() -> None:
    nn = pytest.importorskip("torch_geometric.nn")
    gin, (x, edges, mask, *_) = model(layers=1), batch()
    layer = nn.GINConv(gin.encoder.layers[0])
    for number in range(len(x)):
        own = edges[number][:, edges[number, 0] >= 0]
        expected = layer(x[number], own).relu()[mask[number]].mean(0)
        torch.testing.assert_close(gin.encoder(x, edges, mask)[number], expected)


@pytest.mark.parametrize(
    ("edge", "message"),
    [
        ((0, 9), "goes from 0 to 9: both ends are nodes that are there"),
        ((0, 2), "goes from 0 to 2: both ends are nodes"),
        ((-1, 0), "goes from -1 to 0"),
        ((-2, -2), "goes from -2 to -2"),
    ],
)
def test_edges_to_nodes_that_are_not_there_are_refused(edge: tuple[int, int], message: str) -> None:
    gin, mask = model().float(), torch.tensor([[True, True, False]])
    edges = torch.tensor([[[0, edge[0]], [1, edge[1]]]])
    with pytest.raises(ValueError, match=message):
        gin.predict(torch.ones(1, 3, 1), edges, mask)
    with pytest.raises(ValueError, match=r"expected edges of whole numbers of shape \(1, 2, E\)"):
        gin.predict(torch.ones(1, 3, 1), edges[0], mask)


def test_edges_that_come_twice_or_go_nowhere_are_refused() -> None:
    gin, x = model().float(), torch.ones(1, 3, 1)
    with pytest.raises(ValueError, match="the edge from 0 to 1 comes 2 times"):
        gin.predict(x, torch.tensor([[[0, 0, -1], [1, 1, -1]]]))
    with pytest.raises(ValueError, match="the edge from 2 to itself is one too many"):
        gin.predict(x, torch.tensor([[[2], [2]]]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"readout": "max"}, "readout must be one of 'mean', 'sum', got 'max'"),
        ({"layers": 0}, "layers must be at least 1"),
        ({"lr": 0.0}, "lr must be positive"),
        ({"clusters": 9}, "clusters must be at most hidden_features, 8, got 9"),
        ({"clusters": 0}, "clusters must be at least 1"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\), got 1.0"),
        ({"spread": -0.1}, "spread must not be negative"),
        ({"weight_lr": 0.0}, "weight_lr must be positive"),
        ({"queue": -1}, "queue must be at least 0"),
        ({"queue": 0, "clusters": 4}, "queue must be at least 1 for 4 clusters, got 0"),
    ],
)
def test_bad_hyperparameters_are_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model("L2RGNN", **{"batch_size": 4, **arguments})


def fitted(folder: Path, **arguments: Any) -> tuple[train.Outcome, dict[str, Tensor]]:
    config = {
        "data": {"class_path": "datamodules.MotifGraphs", "init_args": DATA},
        "model": {
            "class_path": "zoo.graph.L2RGNN",
            "init_args": {"in_features": 1, "num_classes": 2, "batch_size": 32, "hidden_features": 8, **arguments},
        },
        "fit": True,
        "callbacks": [],
        "trainer": {"max_epochs": 2},
    }
    if arguments.pop("plain", False):
        config["model"] = {
            "class_path": "zoo.graph.GIN",
            "init_args": {"in_features": 1, "num_classes": 2, "hidden_features": 8},
        }
    outcome = train.run(config, 0, folder)
    return outcome, torch.load(folder / "checkpoint.ckpt", weights_only=True)["state_dict"]


DATA = {"train_size": 128, "val_size": 16, "test_size": 16, "batch_size": 32, "seed": 0}


def test_with_one_cluster_it_trains_as_gin_does(tmp_path: Path) -> None:
    outcome, state = fitted(tmp_path / "l2r", clusters=1)
    _, plain = fitted(tmp_path / "gin", plain=True)
    assert torch.equal(state["queue_w"], torch.ones(3, 32))
    assert outcome.metrics["train/penalty"] == 0
    for name, value in plain.items():
        torch.testing.assert_close(state[name], value, rtol=1e-4, atol=1e-5)


def test_clusters_begin_when_there_are_batches_to_compare() -> None:
    own = model("L2RGNN", batch_size=16, clusters=3)
    z = torch.randn(16, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert len(own.clusters_of(z).unique()) == 1
    own.keep(2 * z.roll(1, 1), torch.ones(16, dtype=torch.float64))
    assert len(own.clusters_of(z).unique()) == 3
    assert torch.equal(model("L2RGNN", batch_size=16, clusters=8).clusters_of(z), torch.arange(8))


def test_the_queue_is_first_in_first_out_also_of_smaller_batches() -> None:
    own = model("L2RGNN", batch_size=4, queue=2)
    for size in (4, 3, 2):
        own.keep(torch.full((size, 8), float(size), dtype=torch.float64), torch.full((size,), float(size)).double())
    assert own.queue_there.sum(1).tolist() == [2, 3]
    assert own.queue_z[own.queue_there].mean(1).tolist() == [2.0] * 2 + [3.0] * 3
    assert own.queue_w[own.queue_there].tolist() == [2.0] * 2 + [3.0] * 3


def test_what_embeds_is_a_step_ahead_of_the_network() -> None:
    """Without momentum: that of the parameters less inner_lr times the gradient, by torch's own SGD."""
    own, graphs = model("L2RGNN", batch_size=6, momentum=0.0, inner_lr=0.1), batch()
    losses = torch.nn.functional.cross_entropy(own(*graphs[:3]), graphs[3])
    found = own.ahead(losses, graphs)
    losses.backward()
    torch.optim.SGD(own.encoder.parameters(), lr=0.1).step()
    torch.testing.assert_close(found, own.encoder(*graphs[:3]).detach())

"""Fields on a network: the product form beside the tensor over pairs, permutations, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from datamodules.network_dynamics import random_graph
from zoo.graph._neighbours import ENTRIES_PER_EDGE, neighbour_sum


def graph(nodes: int = 30, degree: float = 6.0, seed: int = 0) -> Tensor:
    return random_graph("erdos_renyi", nodes, degree, seed)


def field(width: int = 30, **settings) -> Any:
    torch.manual_seed(0)
    return zoo.create("GraphVectorField", width=width, **settings).double().eval()


def states(samples: int, nodes: int) -> Tensor:
    return torch.rand(samples, nodes, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def over_pairs(model: Any, x: Tensor, edges: Tensor) -> Tensor:
    """The same field by the tensor q(x_i, x_j) over all pairs of nodes."""
    adjacency = torch.zeros(x.shape[1], x.shape[1], dtype=x.dtype)
    adjacency[edges[0], edges[1]] = 1
    x = x[..., None]
    q = model.acting(x)[:, :, None] * model.acted_on(x)[:, None]  # (N, i, j, width)
    total = torch.einsum("ij,nijh->njh", adjacency, q)
    return (model.alone(x) + model.readout(total))[..., 0]


def test_the_published_number_of_parameters() -> None:
    assert sum(p.numel() for p in field().parameters()) == 3_032  # 1,021 alone, twice 990 in pairs, 31 to read out


@pytest.mark.parametrize("degree", [2.0, 20.0])
def test_the_product_equals_the_tensor_over_pairs(degree: float) -> None:
    model, edges, x = field(), graph(100, degree), states(4, 100)
    assert (ENTRIES_PER_EDGE * edges.shape[1] >= 100**2) == (degree > 10)  # both ways to sum over neighbours
    with torch.no_grad():
        torch.testing.assert_close(
            model(x, edges.expand(4, -1, -1)), over_pairs(model, x, edges), rtol=1e-12, atol=1e-12
        )


def test_single_precision_differs_from_the_tensor_over_pairs_by_a_millionth() -> None:
    model, edges, x = field().float(), graph(), states(4, 30).float()
    with torch.no_grad():
        torch.testing.assert_close(model(x, edges.expand(4, -1, -1)), over_pairs(model, x, edges), rtol=1e-6, atol=1e-6)


def test_nodes_have_no_order() -> None:
    model, edges, x = field(), graph(), states(3, 30)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(2))
    place = order.argsort()
    moved = model(x[:, order], place[edges].expand(3, -1, -1))
    torch.testing.assert_close(moved, model(x, edges.expand(3, -1, -1))[:, order])


def test_a_node_on_its_own_has_its_own_rate_and_the_bias() -> None:
    model, x = field(), states(3, 5)
    edges = torch.tensor([[0, 1], [1, 0]])
    alone = model.alone(x[..., None])[..., 0] + model.readout.bias
    torch.testing.assert_close(model(x, edges.expand(3, -1, -1))[:, 2:], alone[:, 2:])


def test_the_sum_over_neighbours_follows_the_direction_of_edges() -> None:
    u = torch.tensor([[1.0], [10.0], [100.0]])
    edges = torch.tensor([[0, 1], [2, 2]])
    assert neighbour_sum(u, edges).flatten().tolist() == [0.0, 0.0, 11.0]
    far = torch.cat([u, torch.zeros(97, 1)])  # few edges among many nodes are summed one by one
    assert neighbour_sum(far, edges).flatten()[:4].tolist() == [0.0, 0.0, 11.0, 0.0]


def test_the_loss_is_the_mean_error_and_its_variance_over_nodes() -> None:
    x, edges = states(6, 30), graph().expand(6, -1, -1)
    y = torch.ones_like(x)
    e = (field()(x, edges) - y).abs()
    for weight in (0.0, 0.5):
        scalars = field(variance=weight).step((x, y, edges))
        torch.testing.assert_close(scalars["loss"], e.mean() + weight * e.var(1).mean())
        torch.testing.assert_close(scalars["relative"], e.mean())


def test_predict_takes_one_graph_for_all_samples() -> None:
    model, x, edges = zoo.create("GraphVectorField", width=4), states(3, 30).float(), graph()
    torch.testing.assert_close(model.predict(x, edges), model.predict(x, edges.expand(3, -1, -1)))


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([[0, 1], [1, 30]], r"edges\[1, 1\] is 30: the nodes are 0 to 29"),
        ([[0, -1], [1, 2]], r"edges\[0, 1\] is -1"),
        ([[0, 1, 0], [1, 2, 1]], "the edge from 0 to 1 comes 2 times: drop the copies"),
        ([[0, 3], [1, 3]], "the edge from 3 to itself is one too many"),
        ([[0.5, 1.0], [1.0, 2.0]], "expected edges of whole numbers"),
        ([[0, 1]], "expected edges of whole numbers of shape"),
    ],
)
def test_edges_that_are_none_are_refused(edges: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create("GraphVectorField", width=4).predict(states(2, 30).float(), torch.tensor(edges))


def test_two_graphs_and_other_shapes_are_refused() -> None:
    model, x = zoo.create("GraphVectorField", width=4), states(2, 30).float()
    with pytest.raises(ValueError, match="one graph for all samples"):
        model.predict(x, torch.stack([graph(seed=0), graph(seed=1)]))
    with pytest.raises(ValueError, match=r"expected x of shape \(N, n\)"):
        model.predict(x[0], graph())
    with pytest.raises(ValueError, match=r"expected edges of shape \(2, E\) or \(2, 2, E\)"):
        model.predict(x, graph().expand(3, -1, -1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"lr": 0.0}, "lr must be positive"),
        ({"variance": -1.0}, "variance must not be negative"),
    ],
)
def test_bad_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create("GraphVectorField", **settings)

"""Graph networks of nodes: the operators, what they compute in closed form, and how they descend."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from zoo.graph._nodes import propagate

CYCLE = torch.tensor([[0, 1, 1, 2, 2, 3, 3, 0], [1, 0, 2, 1, 3, 2, 0, 3]])
PATH = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])  # 0 - 1 - 2, and node 3 without edges


def dense(edges: Tensor, nodes: int, operator: str) -> Tensor:
    """S as a matrix, from its definition."""
    with_self = torch.eye(nodes, dtype=torch.float64)
    with_self[edges[1], edges[0]] = 1
    degree = with_self.sum(0)
    return with_self if operator == "gin" else with_self / (degree[:, None] * degree).sqrt()


def random_graph(nodes: int, seed: int = 0) -> Tensor:
    pairs = torch.rand(nodes, nodes, generator=torch.Generator().manual_seed(seed)).triu(1) > 0.8
    one = pairs.nonzero().T
    return torch.cat([one, one.flip(0)], 1)


def made(model: str, **arguments: object) -> Any:
    torch.manual_seed(0)
    network: Any = zoo.create(model, in_features=5, num_classes=3, width=8, **arguments).double()
    for readout in network.readouts:
        torch.nn.init.normal_(readout.weight)
    return network


@pytest.mark.parametrize("operator", ["gcn", "gin"])
def test_the_operator_is_that_of_its_definition(operator: str) -> None:
    for edges, nodes in ((CYCLE, 4), (PATH, 4), (random_graph(40), 40)):
        u = torch.randn(nodes, 3, dtype=torch.float64)
        torch.testing.assert_close(propagate(u, edges, operator), dense(edges, nodes, operator) @ u)


def test_a_node_without_edges_keeps_what_it_has() -> None:
    u = torch.randn(4, 2, dtype=torch.float64)
    for operator in ("gcn", "gin"):
        torch.testing.assert_close(propagate(u, PATH, operator)[3], u[3])


def test_the_gcn_operator_is_that_of_torch_geometric() -> None:
    geometric = pytest.importorskip("torch_geometric.nn.conv.gcn_conv", exc_type=ImportError)
    edges = random_graph(30)
    index, weight = geometric.gcn_norm(edges, num_nodes=30, dtype=torch.float64)
    expected = torch.zeros(30, 30, dtype=torch.float64).index_put((index[1], index[0]), weight)
    torch.testing.assert_close(propagate(torch.eye(30, dtype=torch.float64), edges, "gcn"), expected)


@pytest.mark.parametrize("scales", ["last", "all"])
@pytest.mark.parametrize("operator", ["gcn", "gin"])
def test_a_linear_network_computes_its_equation(scales: str, operator: str) -> None:
    network, edges = made("LinearGNN", depth=3, operator=operator, scales=scales), random_graph(20)
    x, s = torch.randn(20, 5, dtype=torch.float64), dense(edges, 20, operator)
    layers = [x.T]
    for layer in network.layers:
        layers.append(layer.weight @ layers[-1] @ s)
    f = sum(readout.weight @ h for readout, h in zip(network.readouts, layers[network.first :], strict=True))
    torch.testing.assert_close(network(x[None], edges[None])[0].T, f)
    powers = torch.stack([torch.linalg.matrix_power(s, scale) @ x for scale in range(4)])
    torch.testing.assert_close(network.hidden(powers).T, torch.cat(layers[network.first :]))


@pytest.mark.parametrize("skip", [False, True])
def test_a_rectified_network_computes_its_equation(skip: bool) -> None:
    network, edges = made("SkipGNN", depth=3, skip=skip), random_graph(20)
    x, s = torch.randn(20, 5, dtype=torch.float64), dense(edges, 20, "gcn")
    layers = [x.T]
    for layer in network.layers:
        layers.append((layer.weight @ layers[-1] @ s).relu())
    f = sum(readout.weight @ h for readout, h in zip(network.readouts, layers[network.first :], strict=True))
    torch.testing.assert_close(network(x[None], edges[None])[0].T, f)


@pytest.mark.parametrize("model", ["LinearGNN", "SkipGNN"])
def test_graphs_of_a_batch_do_not_touch_each_other(model: str) -> None:
    network = made(model)
    edges = torch.stack([CYCLE, CYCLE[:, [0, 1, 2, 3, 4, 5, 0, 1]]])  # the second is a path, an edge of it double
    x = torch.randn(2, 4, 5, dtype=torch.float64)
    alone = torch.cat([network(x[k : k + 1], edges[k : k + 1]) for k in range(2)])
    torch.testing.assert_close(network(x, edges), alone)


@pytest.mark.parametrize("model", ["LinearGNN", "SkipGNN"])
def test_other_numbers_for_nodes_permute_the_scores(model: str) -> None:
    network, edges, order = made(model), random_graph(15), torch.randperm(15)
    x = torch.randn(15, 5, dtype=torch.float64)
    scores = network(x[None], edges[None])[0]
    torch.testing.assert_close(network(x[order][None], order.argsort()[edges][None])[0], scores[order])


@pytest.mark.parametrize(("model", "skips"), [("LinearGNN", {"scales": "all"}), ("SkipGNN", {"skip": True})])
def test_the_first_loss_is_the_number_of_training_nodes(model: str, skips: dict) -> None:
    x, labels = torch.randn(1, 15, 5), torch.randint(3, (1, 15))
    mask = torch.arange(15)[None] < 7
    for own in ({}, skips):
        network = zoo.create(model, in_features=5, num_classes=3, width=8, **own)
        assert float(network.step((x, random_graph(15)[None], labels, mask))["loss"].detach()) == 7


@pytest.mark.parametrize("scales", ["last", "all"])
def test_a_linear_network_trains_on_the_loss_of_its_step(scales: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when later batches have the graphs in another order."""
    network = made("LinearGNN", scales=scales)
    monkeypatch.setattr(network, "log_scalars", lambda *_: None)
    x, labels = torch.randn(2, 15, 5, dtype=torch.float64), torch.randint(3, (2, 15))
    edges, mask = torch.stack([random_graph(15), random_graph(15)]), torch.rand(2, 15) > 0.5
    for order in ([0, 1], [1, 0]):
        batch = tuple(tensor[order] for tensor in (x, edges, labels, mask))
        for layer in network.layers:
            layer.weight.data *= 1.5
        loss, expected = network.training_step(batch, 0), network.step(batch)["loss"]
        torch.testing.assert_close(loss, expected)
        weights = tuple(network.parameters())
        torch.testing.assert_close(torch.autograd.grad(loss, weights), torch.autograd.grad(expected, weights))


def test_only_masked_nodes_count() -> None:
    network, edges = made("SkipGNN"), random_graph(15)
    x, labels = torch.randn(1, 15, 5, dtype=torch.float64), torch.randint(3, (1, 15))
    mask = torch.arange(15)[None] < 7
    before = network.step((x, edges[None], labels, mask))
    after = network.step((x, edges[None], torch.where(mask, labels, (labels + 1) % 3), mask))
    assert before == after
    scores = network(x, edges[None])[0]
    right = [int(scores[k].argmax()) == int(labels[0, k]) for k in range(7)]
    assert float(before["accuracy"]) == pytest.approx(sum(right) / 7)


def test_readouts_of_fixed_features_learn_each_direction_at_its_own_rate() -> None:
    """With layers that do not move, E_t = E_0 (1 - 2 lr h^T h)^t: directions of large singular values are first."""
    network, edges = made("LinearGNN", depth=1), random_graph(12)
    network.readouts[0].weight.data.zero_()
    network.layers.requires_grad_(False)
    x, labels = torch.randn(1, 12, 5, dtype=torch.float64), torch.randint(3, (1, 12))
    mask = torch.ones(1, 12, dtype=torch.bool)
    s = dense(edges, 12, "gcn")
    h = network.hidden(torch.stack([x[0], s @ x[0]])).detach()
    values, vectors = torch.linalg.eigh(h @ h.T)
    along = (vectors.T @ torch.nn.functional.one_hot(labels[0], 3).double()).square().sum(1)
    optimiser = torch.optim.SGD(network.parameters(), lr=(lr := 0.5 / float(values[-1])))
    for step in range(30):
        loss = network.step((x, edges[None], labels, mask))["loss"]
        expected = ((1 - 2 * lr * values) ** (2 * step) * along).sum()
        torch.testing.assert_close(loss.detach(), expected)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"operator": "gat"}, "operator must be one of 'gcn', 'gin', got 'gat'"),
        ({"lr": 0.0}, "lr must be positive, got 0.0"),
    ],
)
@pytest.mark.parametrize("model", ["LinearGNN", "SkipGNN"])
def test_bad_arguments_are_refused_by_name(model: str, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create(model, in_features=5, num_classes=3, **arguments)


def test_other_scales_are_refused() -> None:
    with pytest.raises(ValueError, match="scales must be one of 'last', 'all', got 'first'"):
        zoo.create("LinearGNN", in_features=5, num_classes=3, scales="first")


@pytest.mark.parametrize(
    ("x", "edges", "message"),
    [
        (torch.randn(4, 5), torch.tensor([[0, 4], [4, 0]]), "nodes are 0 to 3"),
        (torch.randn(4, 5), torch.tensor([[0, 0], [1, 1]]), "comes 2 times: drop the copies"),
        (torch.randn(4, 5), torch.tensor([[0, 1, 1], [1, 0, 2]]), "from 1 to 2 comes in one direction alone"),
        (torch.randn(4, 5), torch.tensor([[0, 2], [1, 2]]), "the edge from 2 to itself is one too many"),
        (torch.randn(2, 4, 5), CYCLE, r"expected x of shape \(N, n, m\) .* got \(2, 4, 5\) with \(2, 8\)"),
    ],
)
def test_predict_refuses_what_is_no_graph(x: Tensor, edges: Tensor, message: str) -> None:
    network = zoo.create("SkipGNN", in_features=5, num_classes=3)
    with pytest.raises(ValueError, match=message):
        network.predict(x, edges)


def test_predict_takes_one_graph() -> None:
    network, x = made("SkipGNN").float(), torch.randn(4, 5)
    torch.testing.assert_close(network.predict(x, CYCLE), network(x[None], CYCLE[None]).detach())

"""HyperSAGNN: what its equations say of order, of single nodes, of what is none, and of who looks at whom."""

from __future__ import annotations

from itertools import permutations
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from datamodules import HyperedgeTriples, PlantedHyperedges
from zoo.graph import HyperSAGNN
from zoo.graph._hyperedges import mean_over

SMALL: dict[str, Any] = {"width": 8, "heads": 2, "head_features": 4}


def made(features: str = "encoder", **arguments: Any) -> HyperSAGNN:
    """A model of 20 nodes of one type, in double precision, that has read ten hyperedges of up to four of them."""
    torch.manual_seed(0)
    given: dict[str, Any] = {**SMALL, "nodes": [20], "hyperedges": 10, "max_size": 4} | arguments
    model = HyperSAGNN(features=features, **given).double()
    hyperedges = torch.rand(10, 20).argsort(1)[:, :4]
    hyperedges[::3, 3] = -1
    if len(given["nodes"]) == 1:
        model.read(hyperedges)
    return model.eval()


@pytest.mark.parametrize("features", ["encoder", "walks"])
def test_the_order_of_the_nodes_and_what_is_none_are_nothing_to_it(features: str) -> None:
    model = made(features)
    p = model(torch.tensor([[3, 7, 11]]))
    for order in permutations([3, 7, 11, -1, -1]):
        torch.testing.assert_close(model(torch.tensor([order])), p, rtol=1e-12, atol=0)


def test_a_node_without_others_is_told_nothing_by_them() -> None:
    model = made()
    x, alone = torch.randn(5, 1, 8, dtype=torch.float64), torch.ones(5, 1, dtype=torch.bool)
    assert not model.attention(x, alone).any()
    padded = torch.cat([x, torch.randn(5, 2, 8, dtype=torch.float64)], 1)
    present = torch.tensor([[True, False, False]]).expand(5, -1)
    assert not model.attention(padded, present)[:, 0].any()
    d, _ = model.dynamic_and_static(x, alone)
    assert torch.equal(d, d[:1].expand_as(d))  # the same of every node
    single = model(torch.tensor([[4]]))
    assert single.isfinite().all()
    single.sum().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())


def attention_by_hand(model: HyperSAGNN, x: Tensor) -> tuple[Tensor, Tensor]:
    """What each node is told (N, k, width), and alpha (N, heads, k, k), by a softmax over the others in loops."""
    attention = model.attention
    heads, size = attention.heads
    pairs = zip(attention.norms, attention.maps, strict=True)
    q, k, v = (linear(norm(x)).unflatten(-1, (heads, size)) for norm, linear in pairs)
    nodes = x.shape[1]
    alpha = torch.zeros(len(x), heads, nodes, nodes, dtype=x.dtype)
    for i in range(nodes):
        others = [j for j in range(nodes) if j != i]
        alpha[:, :, i, others] = (torch.einsum("nhd,njhd->nhj", q[:, i], k[:, others]) / size**0.5).softmax(-1)
    return attention.out(torch.einsum("nhij,njhd->nihd", alpha, v).flatten(2)), alpha


def test_attention_is_a_softmax_over_the_others() -> None:
    model = made()
    x = torch.randn(6, 4, 8, dtype=torch.float64)
    told, alpha = attention_by_hand(model, x)
    torch.testing.assert_close(model.attention(x, torch.ones(6, 4, dtype=torch.bool)), told)
    torch.testing.assert_close(alpha.sum(-1), torch.ones_like(alpha[..., 0]))


def test_a_node_enters_its_own_row_by_its_query_alone() -> None:
    model = made()
    x, present = torch.randn(6, 3, 8, dtype=torch.float64), torch.ones(6, 3, dtype=torch.bool)
    other = x.clone()
    other[:, 0] = torch.randn(6, 8, dtype=torch.float64)
    model.attention.maps[0].get_parameter("weight").data.zero_()  # all queries are 0
    before, after = model.attention(x, present), model.attention(other, present)
    torch.testing.assert_close(before[:, 0], after[:, 0])
    assert bool((before[:, 1:] != after[:, 1:]).any(-1).all())  # to the others it is key and value
    values = model.attention.maps[2](model.attention.norms[2](x))
    torch.testing.assert_close(before[:, 0], model.attention.out(values[:, 1:].mean(1)))  # and the others weigh alike


def test_p_is_the_mean_over_nodes_of_a_logistic_function_of_squares() -> None:
    model = made()
    hyperedges = torch.tensor([[1, 2, 3, -1], [4, 5, 6, 7]])
    x = model.encoder.normed(model.encoder.hidden()[0])[hyperedges.clamp(min=0)]
    d, s = model.dynamic_and_static(x, hyperedges >= 0)
    p = model.score((d - s) ** 2)[..., 0].sigmoid()
    torch.testing.assert_close(model(hyperedges), torch.stack([p[0, :3].mean(), p[1].mean()]))
    assert model.outsider(hyperedges).tolist() == [int(p[0, :3].argmin()), int(p[1].argmin())]


def test_it_has_as_many_parameters_as_the_released_network_uses() -> None:
    model = zoo.create("HyperSAGNN", **HyperedgeTriples("gps").spec.arguments)
    encoder = 64 * (75 + 151 + 216) + 3 * 64 + (75 + 151 + 216) + 2 * 3 * 64
    attention = 3 * 64 * 128 + 128 * 64 + 3 * 128
    perceptrons = 2 * 2 * (64 * 64 + 64)
    norms = 2 * 2 * 128
    assert sum(p.numel() for p in model.parameters()) == 79_675 == encoder + attention + perceptrons + norms + 65


def test_the_loss_weighs_hyperedges_as_much_as_the_five_that_are_none() -> None:
    model = made("walks")
    p = torch.tensor([0.8, 0.3, 0.1], dtype=torch.float64)
    labels = torch.tensor([1, 0, 0])
    expected = -(5 * p[0].log() + (1 - p[1]).log() + (1 - p[2]).log()) / 3
    torch.testing.assert_close(model.scalars(p, labels)["loss"], expected)


def test_means_are_over_what_there_is() -> None:
    hyperedges = torch.tensor([[0, 5, -1], [2, -1, -1]])
    found = mean_over(torch.tensor([[1.0, 3.0, 100.0], [7.0, torch.nan, 9.0]]), hyperedges)
    assert found.tolist() == [2.0, 7.0]


def test_prediction_needs_no_data(tmp_path: Any) -> None:
    model = made()
    fresh = HyperSAGNN(nodes=[20], hyperedges=10, max_size=4, **SMALL).double().eval()
    fresh.load_state_dict(model.state_dict())
    hyperedges = torch.tensor([[1, 2, 3], [0, 9, -1]])
    assert torch.equal(fresh.predict(hyperedges), model.predict(hyperedges))
    assert bool(fresh.ready)


@pytest.mark.parametrize(
    ("hyperedges", "told"),
    [
        ([[0, 1, 2], [5, 5, 6]], r"hyperedges\[1\] is \[5, 5, 6\]: a node comes twice"),
        ([[-1, -1, -1]], r"hyperedges\[0\] is \[-1, -1, -1\]: it is empty"),
        ([[0, 1, 20]], "the nodes are 0 to 19, and -1 is none"),
        ([[0, 1, -2]], "the nodes are 0 to 19, and -1 is none"),
        ([0, 1, 2], r"whole numbers of shape \(N, k\), got \(3,\)"),
        ([[0.0, 1.0]], "whole numbers"),
    ],
)
def test_what_is_no_set_of_nodes_is_refused(hyperedges: list[Any], told: str) -> None:
    model = made()
    for refuses in (model.predict, model.read, model.outsider):
        with pytest.raises(ValueError, match=told):
            refuses(torch.tensor(hyperedges))


def test_two_nodes_of_a_type_are_refused_with_the_numbers_of_the_types() -> None:
    model = made(nodes=[6, 3, 2])
    assert model.predict(torch.tensor([[5, 8, 9]])).shape == (1,)
    with pytest.raises(ValueError, match="two nodes of one type, whose numbers are 0 to 5, 6 to 8, 9 to 10"):
        model.predict(torch.tensor([[5, 4, 9]]))


def test_more_or_larger_hyperedges_than_it_was_made_for_are_refused() -> None:
    model = made()
    for shape in ((11, 3), (2, 5), (0, 3)):
        hyperedges = torch.arange(shape[1]).expand(shape)
        with pytest.raises(ValueError, match="at most 10 hyperedges of at most 4 nodes, and at least one"):
            model.read(hyperedges)


def test_training_without_hyperedges_to_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = HyperSAGNN(nodes=[20], hyperedges=10, **SMALL)
    monkeypatch.setattr(HyperSAGNN, "trainer", SimpleNamespace(datamodule=None))
    with pytest.raises(ValueError, match="no hyperedges to train on: give them to its `read` before"):
        model.on_fit_start()
    model.read(torch.tensor([[0, 1, 2]]))
    model.on_fit_start()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"features": "rows"}, "features must be one of 'encoder', 'walks', got 'rows'"),
        ({"nodes": []}, "nodes must be at least 1"),
        ({"max_size": 1}, "max_size must be at least 2, got 1"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        ({"length": 1}, "length must be at least 2, got 1"),
        ({"q": 0.0}, "q must be positive, got 0.0"),
        ({"heads": 0}, "heads must be at least 1, got 0"),
        ({"reconstruction": -1.0}, "reconstruction must not be negative"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        made(**arguments)


def test_it_learns_groups_of_hyperedges_of_several_sizes() -> None:
    """Trained on half the epochs' steps by hand: most of what lies between groups is ranked below what lies within."""
    from torchmetrics.functional.classification import binary_auroc

    data = PlantedHyperedges(groups=4, members=8, train_size=80, val_size=8, test_size=20)
    torch.manual_seed(0)
    model = HyperSAGNN(**data.spec.arguments, width=16, heads=2, head_features=8, lr=5e-3)
    model.read(data.positives["train"])
    optimizer, loader = model.configure_optimizers(), data.loader("train")
    for epoch in range(60):
        optimizer.zero_grad()
        model.step(loader.batch(epoch, 0))["loss"].backward()
        optimizer.step()
    hyperedges, _ = data.tensors("test")
    p = model.eval()(hyperedges).detach()
    assert float(binary_auroc(p, data.within(hyperedges).long())) > 0.9  # 1/2 by chance

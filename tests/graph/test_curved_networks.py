"""Networks on curved spaces: isometries, flat limits, symmetries, decoders."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from zoo.graph._parts import area_under_curve

HYPERBOLIC = ("HGNN", "HGCN", "HGAT", "LorentzGCN", "KappaGCN")
EVERY = ("EuclideanGCN", *HYPERBOLIC)
FLAT = 1e-10  # a curvature next to 0: differences to the plane are of its order
EDGES = torch.tensor([[0, 1, 1, 2, 2, 3, 1, 4], [1, 0, 2, 1, 3, 2, 4, 1]])[None]  # a tree, and node 5 alone
PAIRS = torch.tensor([[0, 1, 4, 2], [3, 2, 5, 5]])[None]


def features(seed: int = 0, graphs: int = 1) -> Tensor:
    return torch.randn(graphs, 6, 5, generator=torch.Generator().manual_seed(seed)).double()


def made(name: str, **arguments: Any) -> Any:
    torch.manual_seed(0)
    model: Any = zoo.create(name, in_features=5, width=3, double=True, **arguments)
    for key, parameter in model.named_parameters():
        if key.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def same(one: Tensor, other: Tensor, tolerance: float = 1e-8) -> None:
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("aggregation", ["origin", "node"])
@pytest.mark.parametrize("attention", [False, True])
def test_hgcn_is_one_model_on_ball_and_hyperboloid(aggregation: str, attention: bool) -> None:
    """Tangent vectors at the origin of the ball are half of their images: so are biases and the first weights."""
    arguments = {"curvature": -0.75, "aggregation": aggregation, "attention": attention}
    ball, sheet = made("HGCN", **arguments), made("HGCN", space="hyperboloid", **arguments)
    state = ball.state_dict()
    for key, value in state.items():
        doubled = key == "layers.0.transform.weight" or key.endswith("transform.bias")
        state[key] = 2 * value if doubled else value / 2 if ".weights." in key else value
    sheet.load_state_dict(state)
    x = features() / 4  # nearer than what is projected inside the ball
    one, other = (m.link_logits(m(x, EDGES), PAIRS) for m in (ball, sheet))
    same(one, other, tolerance=1e-7)


@pytest.mark.parametrize(
    ("name", "arguments", "factor"),
    [
        ("HGNN", {}, 4.0),
        ("HGCN", {}, 4.0),
        ("HGCN", {"aggregation": "node"}, 4.0),
        ("HGCN", {"space": "hyperboloid"}, 1.0),
        ("KappaGCN", {}, 4.0),
        ("KappaGCN", {"curvature": FLAT}, 4.0),
        ("KappaGCN", {"curvature": 0.0}, 4.0),
    ],
)
@pytest.mark.parametrize("num_classes", [None, 4])
def test_without_curvature_means_are_the_euclidean_network(
    name: str, arguments: dict[str, Any], factor: float, num_classes: int | None
) -> None:
    """Squared distances of a ball tend to 4 |x - y|^2."""
    curved = made(name, num_classes=num_classes, **{"curvature": -FLAT, **arguments})
    flat = made("EuclideanGCN", num_classes=num_classes, radius=2 / factor, temperature=1 / factor)
    own = {k: v for k, v in curved.state_dict().items() if not k.endswith("kappa")}
    state = {k: own.get(k, torch.zeros_like(v)) for k, v in flat.state_dict().items()}
    flat.load_state_dict(state)
    if num_classes:
        same(curved(features(), EDGES), flat(features(), EDGES), tolerance=1e-6)
    else:
        one, other = (m.link_logits(m(features(), EDGES), PAIRS) for m in (curved, flat))
        same(one, other, tolerance=1e-5)


@pytest.mark.parametrize(("name", "power", "factor"), [("HGAT", 1, 2.0), ("LorentzGCN", 2, 1.0)])
def test_without_curvature_attention_is_a_softmax_of_distances(name: str, power: int, factor: float) -> None:
    model = made(name, curvature=-FLAT, num_classes=4)
    adjacent = torch.zeros(6, 6, dtype=torch.bool).fill_diagonal_(True)
    adjacent[EDGES[0, 1], EDGES[0, 0]] = True
    x = features()[0]
    for number, layer in enumerate(model.layers):
        y = x @ layer.transform.weight.T + layer.transform.bias
        scores = -factor * (y[:, None] - y).norm(dim=-1) ** power
        x = scores.masked_fill(~adjacent, -math.inf).softmax(1) @ y
        x = x.relu() if number == 0 else x
    same(model(features(), EDGES)[0], model.decoder(x), tolerance=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_nodes_may_be_numbered_anyhow_and_graphs_are_apart(name: str) -> None:
    model = made(name, num_classes=4)
    order = torch.tensor([3, 5, 0, 2, 4, 1])
    where = order.argsort()
    same(model(features()[:, order], where[EDGES]), model(features(), EDGES)[:, order])
    both = torch.cat([features(), features(1)])
    other = EDGES.flip(2).roll(1, 2).flip(1)
    together = model(both, torch.cat([EDGES, where[other]]))
    same(together[:1], model(features(), EDGES))
    same(together[1:], model(features(1), where[other]))


@pytest.mark.parametrize("name", EVERY)
def test_a_node_without_neighbours_hears_itself_alone(name: str) -> None:
    model = made(name, num_classes=4)
    changed = features()
    changed[:, :5] += 1
    same(model(changed, EDGES)[:, 5], model(features(), EDGES)[:, 5])
    assert not model(changed, EDGES)[:, :5].isclose(model(features(), EDGES)[:, :5]).any()


@pytest.mark.parametrize("name", EVERY)
def test_two_layers_see_two_steps_far(name: str) -> None:
    model = made(name, num_classes=4)
    changed = features()
    changed[:, 3] += 1
    moved = (model(changed, EDGES) - model(features(), EDGES)).abs().amax(-1)[0] > 1e-9
    assert moved.tolist() == [False, True, True, True, False, False]  # 0 and 4 are three steps from 3


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        *((name, {}) for name in HYPERBOLIC),
        ("HGCN", {"aggregation": "node", "attention": True}),
        ("HGCN", {"space": "hyperboloid"}),
        ("HGCN", {"space": "hyperboloid", "aggregation": "node", "attention": True}),
    ],
)
@pytest.mark.parametrize("double", [False, True])
def test_far_points_have_finite_losses_and_gradients(name: str, arguments: dict[str, Any], double: bool) -> None:
    torch.manual_seed(0)
    model: Any = zoo.create(name, in_features=5, width=3, double=double, **arguments)
    for scale in (0.0, 1e-6, 1.0, 1e3):
        model.zero_grad()
        batch = (scale * features().float(), EDGES, PAIRS, torch.tensor([[True, False, True, False]]))
        loss = model.step(batch)["loss"]
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_links_have_the_probabilities_of_fermi_and_dirac() -> None:
    model = made("HGCN", radius=1.5, temperature=0.5)
    x = torch.tensor([[[0.0, 0.0, 0.0], [0.3, 0.4, 0.0]]], dtype=torch.float64)
    expected = 1 / (math.exp((math.log(3) ** 2 - 1.5) / 0.5) + 1)
    assert float(model.link_logits(x, torch.tensor([[[0], [1]]])).sigmoid()) == pytest.approx(expected, rel=1e-9)


def test_the_area_is_the_share_of_pairs_in_order() -> None:
    scores = torch.tensor([0.1, 0.7, 0.7, 0.3, 0.9, 0.3])
    positive = torch.tensor([False, True, False, True, True, False])
    pairs = [(a, b) for a in scores[positive].tolist() for b in scores[~positive].tolist()]
    expected = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)
    assert float(area_under_curve(scores, positive)) == pytest.approx(expected)


def test_only_the_nodes_of_the_mask_count() -> None:
    model = made("HGCN", num_classes=4)
    labels, mask = torch.tensor([[0, 1, 2, 3, 0, 1]]), torch.tensor([[True, False, True, False, False, True]])
    logits = model(features(), EDGES)
    loss = torch.nn.functional.cross_entropy(logits[0, [0, 2, 5]], labels[0, [0, 2, 5]])
    same(model.step((features(), EDGES, labels, mask))["loss"], loss)


def test_each_layer_learns_its_curvature_and_no_other_has_one() -> None:
    assert sum("rho" in k for k, _ in made("HGCN", learn_curvature=True, layers=3).named_parameters()) == 3
    assert not any("rho" in k for k, _ in made("HGCN").named_parameters())
    assert {k for k, _ in made("KappaGCN", learn_curvature=True).named_parameters() if "kappa" in k} == {
        "layers.0.own.kappa",
        "layers.1.own.kappa",
    }


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("HGCN", {"curvature": 1.0}, "curvature must be negative in a hyperbolic space, got 1"),
        ("LorentzGCN", {"curvature": 0.0}, "curvature must be negative in a hyperbolic space, got 0"),
        ("HGCN", {"space": "flat"}, "space must be one of 'ball', 'hyperboloid', got 'flat'"),
        ("HGCN", {"aggregation": "x"}, "aggregation must be one of 'origin', 'node', got 'x'"),
        ("HGAT", {"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1"),
        ("HGNN", {"layers": 0}, "layers must be at least 1, got 0"),
        ("KappaGCN", {"num_classes": 1}, "num_classes must be at least 2, got 1"),
        ("HGCN", {"radius": -1.0}, "radius must be positive, got -1"),
        ("EuclideanGCN", {"temperature": 0.0}, "temperature must be positive, got 0"),
    ],
)
def test_bad_arguments_are_refused(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create(name, in_features=5, **arguments)


def test_bad_input_is_refused() -> None:
    model = made("HGCN")
    with pytest.raises(ValueError, match=r"edges\[1, 0\] is 6: the nodes are 0 to 5"):
        model.predict(features(), torch.tensor([[0], [6]]))
    with pytest.raises(ValueError, match=r"x of shape \(N, n, 5\) of N graphs with nodes, got \(6, 5\)"):
        model.predict(features()[0], EDGES)
    with pytest.raises(ValueError, match=r"of N graphs with nodes, got \(1, 0, 5\)"):
        model.predict(features()[:, :0], EDGES[..., :0])
    with pytest.raises(ValueError, match="the edge from 1 to 0 comes 2 times"):
        model.predict(features(), torch.tensor([[1, 1, 4, 4, 4], [0, 0, 1, 1, 1]]))
    with pytest.raises(ValueError, match="the edge from 0 to 1 comes in one direction alone: give each in both"):
        model.predict(features(), torch.tensor([[0], [1]]))
    with pytest.raises(ValueError, match="expected points in the ball of radius 1, got one of norm 2"):
        model.link_logits(torch.tensor([[[2.0, 0, 0], [0, 0, 0]]], dtype=torch.float64), torch.tensor([[[0], [1]]]))
    points = model.predict(features(), EDGES)
    with pytest.raises(ValueError, match="pairs name nodes from 0 to 9, of 0 to 5"):
        model.link_logits(points, torch.tensor([[[9], [0]]]))
    with pytest.raises(
        ValueError, match=r"expected points \(N, n, …\) of 3 coordinates and whole pairs \(N, 2, P\), got"
    ):
        model.link_logits(points, torch.tensor([[1], [0]]))
    for wrong, pairs in ((points[..., :2], PAIRS), (points[:, :0], PAIRS), (points, PAIRS > 2)):
        with pytest.raises(ValueError, match=r"expected points .* of 3 coordinates and whole pairs"):
            model.link_logits(wrong, pairs)
    with pytest.raises(ValueError, match="expected finite points"):
        made("EuclideanGCN").link_logits(points * torch.nan, PAIRS)
    with pytest.raises(ValueError, match=r"expected x of shape \(N, n, 5\) of N graphs with nodes, got \(1, 6, 4\)"):
        model.predict(features()[..., :4], EDGES)
    with pytest.raises(ValueError, match="expected edges of whole numbers"):
        model.predict(features(), EDGES[0] > 2)
    with pytest.raises(ValueError, match="tells classes, not links"):
        made("HGCN", num_classes=2).link_logits(points, torch.tensor([[[1], [0]]]))

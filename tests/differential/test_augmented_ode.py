"""Flows with extra dimensions: what every plain flow keeps, and the data that show it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sklearn.isotonic import IsotonicRegression

from benchmarks.observables.differential.topology import Flow
from datamodules import Digits, Reflection, Rings
from zoo.differential import AugmentedODE, LinearFlow, NeuralODE


def made(features: int = 1, seed: int = 0, **hyperparameters: Any) -> AugmentedODE:
    torch.manual_seed(seed)
    return AugmentedODE(features, **{"readout": False, "steps": 32} | hyperparameters).double()


@pytest.mark.parametrize("seed", range(5))
def test_a_flow_on_the_line_keeps_the_order_of_points(seed: int) -> None:
    model = made(seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # fresh weights barely move a point
    end = model(torch.linspace(-2, 2, 200).double()[:, None])[:, 0]
    assert bool((end.diff() > 0).all())
    assert not torch.allclose(end, torch.linspace(-2, 2, 200).double(), atol=0.1)


class Turn(torch.nn.Module):
    """Half a turn of the plane in a unit of time."""

    def forward(self, t: Any, h: torch.Tensor) -> torch.Tensor:
        return torch.pi * torch.stack([-h[..., 1], h[..., 0]], -1)


def test_half_a_turn_in_an_added_dimension_turns_the_line_around() -> None:
    """dh/dt = pi (-h_2, h_1) takes (x, 0) to (-x, 0)."""
    model = made(augment=1, steps=64)
    model.field = Turn()
    x, y = Reflection(test_size=50).raw("test")
    # the error of rk4 after 64 steps of pi / 64: some pi^5 / 120 / 64^4 = 2e-7
    torch.testing.assert_close(model(x.double()), y.double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_a_flow_of_the_plane_keeps_orientation(seed: int) -> None:
    """Its Jacobian's determinant is the exponential of the divergence's integral: positive."""
    model = made(2, seed, out_features=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    x = torch.randn(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    jacobians = torch.stack([torch.func.jacrev(lambda p: model(p[None])[0])(point) for point in x])
    determinants = torch.linalg.det(jacobians).detach()
    assert bool((determinants > 0).all())
    assert float((determinants - 1).abs().max()) > 0.5  # it is no small change of the identity


def test_no_monotone_map_is_nearer_to_the_reflection_than_zero() -> None:
    x, y = Reflection(test_size=500).raw("test")
    best = IsotonicRegression().fit_transform(x[:, 0].numpy(), y[:, 0].numpy())
    floor = (1 - 1 / 500**2) / 3
    assert float(((best - y[:, 0].numpy()) ** 2).mean()) == pytest.approx(floor, rel=1e-5)  # float32
    assert float(y.square().mean()) == pytest.approx(floor, rel=1e-5)


def test_rings_are_uniform_in_area() -> None:
    x, y = Rings(test_size=40_000).raw("test")
    square = x.square().sum(1)
    inner, outer = square[y[:, 0] < 0], square[y[:, 0] > 0]
    assert abs(len(inner) - 20_000) < 4 * 100  # a binomial count: deviation sqrt(40,000 / 4)
    assert inner.max() <= 0.25
    assert outer.min() >= 1 - 1e-6
    assert outer.max() <= 2.25 + 1e-6
    # r^2 is uniform: a mean's deviation is the interval / sqrt(12 n)
    assert float(inner.mean()) == pytest.approx(0.125, abs=4 * 0.25 / (12 * 20_000) ** 0.5)
    assert float(outer.mean()) == pytest.approx(1.625, abs=4 * 1.25 / (12 * 20_000) ** 0.5)


def test_the_share_in_order_is_measured() -> None:
    logged: dict[str, float] = {}
    trainer: Any = SimpleNamespace(datamodule=Reflection(test_size=100))
    model = made().float()
    model.log = lambda name, value: logged.update({name: float(value)})
    Flow().on_test_epoch_end(trainer, model)
    assert logged["test/order"] == 1
    assert model.recorded["paths"].shape == (1, 21, 100, 1)
    turned = made(augment=1).float()
    turned.field = Turn()
    turned.log = model.log
    Flow().on_test_epoch_end(trainer, turned)
    assert logged["test/order"] == 0
    assert Flow().refusal(LinearFlow(2), Rings()) == "LinearFlow has no paths"


@pytest.mark.parametrize(("method", "count"), [("euler", 3), ("midpoint", 6), ("rk4", 12)])
def test_an_image_classifier_counts_its_evaluations(method: str, count: int) -> None:
    torch.manual_seed(0)
    batch = tuple(t[:4] for t in Digits().load("train"))
    model = NeuralODE(1, 10, channels=8, method=method, steps=3)
    assert float(model.step(batch)["evaluations"]) == count


def test_finer_steps_approach_the_adaptive_solution() -> None:
    torch.manual_seed(0)
    x = Digits().load("train")[0][:4].double()
    model = NeuralODE(1, 10, channels=8, method="dopri5", tolerance=1e-8).double()
    exact = model(x)
    errors = []
    for steps in (8, 32):
        model.method, model.steps = "rk4", steps
        errors.append(float((model(x) - exact).norm().detach()))
    assert errors[1] < errors[0] / 8  # kinks of ReLU that a step crosses leave at least second order: a sixteenth
    assert errors[1] < 1e-3 * float(exact.norm().detach())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: made(augment=-1), "augment must not be negative, got -1"),
        (lambda: made(out_features=2), "out_features must be at most in_features \\+ augment = 1 .*, got 2"),
        (lambda: made(steps=0), "steps must be at least 1, got 0"),
        (lambda: NeuralODE(1, 10, method="dopri8"), "'dopri8' is refused"),
        (lambda: NeuralODE(1, 10, tolerance=0.0), "tolerance must be positive, got 0.0"),
        (lambda: Reflection(test_size=0), "test_size must be at least 1, got 0"),
    ],
)
def test_bad_values_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()

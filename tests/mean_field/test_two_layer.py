"""Invariants of two-layer ReLU networks in the mean-field scaling (Hajjar and Chizat, 2022)."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules import OddTarget
from zoo.mean_field import TwoLayerReLU
from zoo.mean_field.infinite_width import odd_target_bound, odd_target_path


def made(seed: int = 0, **hyperparameters: Any) -> TwoLayerReLU:
    torch.manual_seed(seed)
    model: TwoLayerReLU = TwoLayerReLU(**{"in_features": 5, "width": 64} | hyperparameters)
    return model


def descend(model: TwoLayerReLU, batches: list[tuple[Tensor, Tensor]]) -> None:
    """Plain gradient descent with the model's own optimiser."""
    optimizer = model.configure_optimizers()
    for batch in batches:
        optimizer.zero_grad()
        model.step(batch)["loss"].backward()
        optimizer.step()


def odd_batches(count: int, dim: int = 5, size: int = 64) -> list[tuple[Tensor, Tensor]]:
    data = OddTarget(dim=dim, batch_size=size, steps_per_epoch=count)
    return [(x.double(), y.double()) for x, y in data.train_dataloader()]


def test_neurons_start_balanced_on_the_sphere() -> None:
    model = made(width=20_000)
    torch.testing.assert_close(model.w.norm(dim=1), torch.ones(20_000))
    assert set(model.a.unique().tolist()) == {-1.0, 1.0}
    # the mean of 20,000 uniform unit vectors has norm about 1/sqrt(20,000) = 0.007; five times that
    assert model.w.mean(0).norm() < 5 / math.sqrt(20_000)


def test_it_is_positively_homogeneous() -> None:
    model, x = made().double(), torch.randn(10, 5, dtype=torch.float64)
    for scale in (0.1, 7.0):
        torch.testing.assert_close(model(scale * x), scale * model(x))


def test_the_odd_part_is_exactly_linear() -> None:
    """f(x) - f(-x) = 2 w . x, because relu(z) - relu(-z) = z."""
    model, x = made().double(), torch.randn(10, 5, dtype=torch.float64)
    torch.testing.assert_close((model(x) - model(-x)) / 2, x @ model.linear_part())


def test_pairing_starts_exactly_linear_or_exactly_zero() -> None:
    x = torch.randn(10, 5, dtype=torch.float64)
    linear, zero = made(pairing="linear").double(), made(pairing="zero").double()
    torch.testing.assert_close(linear(x), x @ linear.linear_part())
    torch.testing.assert_close(zero(x), torch.zeros(10, dtype=torch.float64))


def test_balance_is_conserved_to_the_order_of_the_step() -> None:
    """Gradient flow conserves a^2 - |w|^2; at a fixed time, SGD with half the step loses half of it."""
    lost = []
    for halvings in (0, 1):
        model = made(lr=0.02 / 2**halvings).double()
        batches = [batch for batch in odd_batches(50) for _ in range(2**halvings)]
        descend(model, batches)
        lost.append(float((model.a.square() - model.w.square().sum(1)).abs().max().detach()))
    assert lost[1] / lost[0] == pytest.approx(0.5, abs=0.05)


def test_output_signs_never_change() -> None:
    model = made(lr=0.02).double()
    before = model.a.sign().clone()
    descend(model, odd_batches(200))
    assert torch.equal(model.a.sign(), before)


@pytest.mark.parametrize("width", [64, 512])
def test_the_step_of_every_width_is_the_same_in_mean_field_time(width: int) -> None:
    """Copies of one set of neurons make the same function, and move it alike: the reason for m * lr."""
    small = made(width=64, lr=0.02).double()
    large = made(width=width, lr=0.02).double()
    with torch.no_grad():
        large.w.copy_(small.w.repeat(width // 64, 1))
        large.a.copy_(small.a.repeat(width // 64))
    batches = odd_batches(20)
    descend(small, batches)
    descend(large, batches)
    x = batches[0][0]
    torch.testing.assert_close(small(x), large(x), rtol=1e-10, atol=1e-12)


def test_a_symmetry_of_target_and_data_is_kept() -> None:
    """Batches and neurons closed under x -> -x with odd targets: f stays odd, hence exactly linear."""
    model = made(pairing="linear", lr=0.02).double()
    batches = [(torch.cat([x, -x]), torch.cat([y, -y])) for x, y in odd_batches(100)]
    descend(model, batches)
    x = batches[0][0]
    torch.testing.assert_close(model(x), x @ model.linear_part(), rtol=1e-9, atol=1e-11)
    assert float(model.linear_part().detach().norm()) > 0.1, "it has moved"


def test_a_reflection_is_kept() -> None:
    """Neurons and batches closed under x_1 -> -x_1, targets even in x_1: so is f, at all times."""
    model, flip = made(lr=0.02).double(), torch.tensor([-1.0, 1, 1, 1, 1], dtype=torch.float64)
    with torch.no_grad():
        model.w[32:] = model.w[:32] * flip
        model.a[32:] = model.a[:32]
    xs = [torch.cat([x, x * flip]) for x, _ in odd_batches(100)]
    descend(model, [(x, x[:, 0].abs() + x[:, 1]) for x in xs])
    torch.testing.assert_close(model(xs[0]), model(xs[0] * flip), rtol=1e-9, atol=1e-11)


def test_a_permutation_is_kept() -> None:
    """Neurons and batches closed under a cycle of x_1, x_2, x_3, targets their norm: so is f, at all times."""
    model, cycle = made(width=63, lr=0.02).double(), [1, 2, 0, 3, 4]
    with torch.no_grad():
        for turn in (21, 42):
            model.w[turn : turn + 21] = model.w[turn - 21 : turn, cycle]
            model.a[turn : turn + 21] = model.a[:21]
    xs = [torch.cat([x, x[:, cycle], x[:, cycle][:, cycle]]) for x, _ in odd_batches(100)]
    before = model(xs[0]).detach()
    descend(model, [(x, x[:, :3].norm(dim=1)) for x in xs])
    torch.testing.assert_close(model(xs[0]), model(xs[0][:, cycle]), rtol=1e-9, atol=1e-11)
    assert float((model(xs[0]) - before).abs().max().detach()) > 0.1, "it has moved"


def test_the_infinite_width_path_keeps_its_bound_and_reaches_its_rate() -> None:
    """Late rate V cosh(|w*| L / d) / 4d at the fixed point S = 1, i.e. sinh(|w*| L / d) = 4 |w*| / V."""
    dim, lr, steps = 20, 1e-2, 8000
    distance, loss = odd_target_path(dim, lr, steps)
    assert (distance <= odd_target_bound(dim, lr, steps) * (1 + 1e-9)).all()
    assert loss[0] == pytest.approx(1.0)
    assert loss[-1] == pytest.approx(0.4, abs=1e-9)
    v, norm = 1 + 1 / dim, math.sqrt(1.2 * dim)
    rate = v * math.sqrt(1 + (4 * norm / v) ** 2) / (4 * dim)
    measured = -torch.log(distance[6000] / distance[5000]) / (lr * 1000)
    # Euler's rate is -log(1 - rate lr) / lr = rate (1 + rate lr / 2 + …): 0.12 % above the flow's
    assert float(measured) == pytest.approx(-math.log(1 - rate * lr) / lr, rel=1e-4)


@pytest.mark.parametrize("lr", [1e-2, 5e-3])
def test_euler_steps_converge_to_the_flow_at_first_order(lr: float) -> None:
    fine = odd_target_path(20, lr / 64, 64 * 1000)[0][-1]
    errors = [abs(float(odd_target_path(20, lr / n, n * 1000)[0][-1] - fine)) for n in (1, 2)]
    assert errors[1] / errors[0] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"in_features": -1}, "in_features must be at least 1, got -1"),
        ({"lr": 0.0}, "lr must be positive, got 0.0"),
        ({"pairing": "both"}, "pairing must be 'none', 'linear' or 'zero', got 'both'"),
        ({"width": 7, "pairing": "zero"}, "width must be even for pairing 'zero', got 7"),
    ],
)
def test_bad_values_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**arguments)

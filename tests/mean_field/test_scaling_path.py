"""The scaling path of two-layer networks (Neumayer, Chizat and Unser, 2023), and the tangent kernel at its end."""

from __future__ import annotations

import copy
import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.observables.mean_field.scaling_path import ScalingPath
from datamodules import InterpolationPoints, ThreeBumps
from zoo.mean_field import TwoLayerReLU
from zoo.mean_field.tangent_kernel import linearised, minimum_norm_change, tangent_features


def made(**hyperparameters: Any) -> TwoLayerReLU:
    torch.manual_seed(0)
    arguments = {"in_features": 2, "width": 100, "init": "gaussian", "pairing": "zero"} | hyperparameters
    return TwoLayerReLU(**arguments).double()


def points() -> tuple[Tensor, Tensor]:
    x, y = InterpolationPoints().load("train")
    return x.double(), y.double()


def size(tensors: Any) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors]).norm()


def interpolating_network() -> TwoLayerReLU:
    """The straight lines between the points, as a network: a kink is a neuron."""
    x, y = points()
    slopes = y.diff() / x[:, 0].diff()
    model = made(width=6, pairing="none")
    with torch.no_grad():
        model.w[0], model.w[1] = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0])  # a constant, and u + 1
        model.w[2:] = torch.stack([torch.ones(4, dtype=x.dtype), -x[1:-1, 0]], dim=1)
        model.a.copy_(6 * torch.cat([y[:1], slopes[:1], slopes.diff()]))
    return model


def test_the_least_total_variation_is_nineteen_and_a_half() -> None:
    pairs = itertools.pairwise(zip(InterpolationPoints.locations, InterpolationPoints.values, strict=True))
    slopes = [(y - y_) / (x - x_) for (x_, y_), (x, y) in pairs]
    # sums and quotients of a few one-digit decimals: a few units in the last place of 19.5
    assert sum(abs(b - a) for a, b in itertools.pairwise(slopes)) == pytest.approx(19.5, abs=1e-13)


def test_every_batch_is_the_whole_set_in_one_order() -> None:
    data = InterpolationPoints(steps_per_epoch=3)
    batches = list(data.train_dataloader())
    assert len(batches) == 3
    assert all(torch.equal(x, data.load("train")[0]) and torch.equal(y, data.load("train")[1]) for x, y in batches)


@pytest.mark.parametrize("pairing", ["none", "zero"])
def test_the_default_start_is_that_of_the_sphere_to_the_bit(pairing: str) -> None:
    torch.manual_seed(3)
    model = TwoLayerReLU(in_features=5, width=8, pairing=pairing)
    torch.manual_seed(3)
    drawn = 8 if pairing == "none" else 4
    w = nn.functional.normalize(torch.randn(drawn, 5), dim=1)
    a = torch.randint(0, 2, (drawn,)).float() * 2 - 1
    assert torch.equal(model.w[:drawn], w)
    assert torch.equal(model.a[:drawn], a)
    assert model.configure_optimizers().param_groups[0]["lr"] == 8 * 1e-2


def test_gaussian_neurons_are_balanced_and_of_unit_variance() -> None:
    model = made(width=20_000)
    torch.testing.assert_close(model.a.abs(), model.w.norm(dim=1))
    # the mean of 2 · 10,000 independent squares, each of variance 2, deviates by 0.01; five times that
    assert float(model.w.detach().square().mean()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("scale", "divisor"), [(0.25, 1), (1.0, 1), (16.0, 256)])
def test_the_scale_multiplies_the_start_and_divides_the_step(scale: float, divisor: float) -> None:
    model, unit = made(scale=scale), made()
    for name, parameter in model.named_parameters():  # powers of two: exact
        assert torch.equal(parameter, scale * unit.get_parameter(name))
    assert model.configure_optimizers().param_groups[0]["lr"] == 100 * 1e-2 / divisor


def test_the_least_change_interpolates_and_is_the_least() -> None:
    """delta = J^T (J J^T)^-1 (y - f): in the rows' span, hence of least norm among all that interpolate."""
    model, (x, y) = made(pairing="none"), points()
    change, features = minimum_norm_change(model, x, y), tangent_features(model, x)
    flat = torch.cat([part.flatten() for part in change.values()])
    through_kernel = features.T @ torch.linalg.solve(features @ features.T, y - model(x))
    # the kernel's condition number is about 1e2: 1e-14 for the solution, with two decades to spare
    torch.testing.assert_close(flat, through_kernel.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(linearised(model, x, change), y, rtol=0, atol=1e-12)


def test_the_linearisation_is_the_first_order_of_the_network() -> None:
    model, (x, _) = made(), points()
    change = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    flat = torch.cat([part.flatten() for part in change.values()])
    expected = model(x) + tangent_features(model, x) @ flat
    torch.testing.assert_close(linearised(model, x, change), expected, rtol=1e-12, atol=1e-13)
    errors = []
    for step in (1e-4, 5e-5):
        moved = {name: p + step * change[name] for name, p in model.named_parameters()}
        there = torch.func.functional_call(model, moved, (x,)).detach()
        errors.append((there - linearised(model, x, {n: step * c for n, c in change.items()})).norm())
    # the remainder is quadratic where no neuron changes its side of a point, as none does in these small steps
    assert float(errors[0] / errors[1]) == pytest.approx(4, rel=1e-3)


def test_a_model_that_is_linear_in_its_parameters_is_its_own_linearisation() -> None:
    """A linear layer, in float32: the interpolant is numpy's least-norm solution, computed in float64."""
    torch.manual_seed(0)
    layer, x, y = nn.Linear(9, 1), torch.randn(4, 9), torch.randn(4)
    change = minimum_norm_change(nn.Sequential(layer, nn.Flatten(0)), x, y)
    exact = copy.deepcopy(layer).double().requires_grad_(False)
    rows = torch.cat([x, torch.ones(4, 1)], dim=1).double().numpy()
    expected = np.linalg.lstsq(rows, (y - exact(x.double())[:, 0]).numpy(), rcond=None)[0]
    found = torch.cat([change["0.weight"][0], change["0.bias"]])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-13)  # rows that are far from dependent
    new = torch.randn(5, 9)
    exact.weight.add_(change["0.weight"])
    exact.bias.add_(change["0.bias"])
    after = linearised(nn.Sequential(layer, nn.Flatten(0)), new, change)
    torch.testing.assert_close(after, exact(new.double())[:, 0], rtol=1e-12, atol=1e-13)


def test_the_lazy_movement_falls_as_the_square_of_the_scale() -> None:
    """J is homogeneous of degree 1 in theta: where f starts at 0, delta ~ 1 / scale beside theta ~ scale."""
    (x, y), moved = points(), []
    for scale in (1.0, 16.0):
        model = made(scale=scale)
        moved.append(size(minimum_norm_change(model, x, y).values()) / size(model.parameters()))
    assert float(moved[0] / moved[1]) == pytest.approx(256, rel=1e-10)  # exact but for rounding


def test_gradient_descent_from_a_large_start_ends_at_the_tangent_solution() -> None:
    """The features change on the way by a part ||delta|| / ||theta|| of themselves, and so does the end."""
    x, y = (tensor[[0, 2, 5]] for tensor in points())  # three points far apart: 600 steps reach the end
    missed = []
    for scale in (30.0, 300.0):
        model = made(scale=scale, lr=0.5)
        start = {name: p.detach().clone() for name, p in model.named_parameters()}
        change = minimum_norm_change(model, x, y)
        optimizer = model.configure_optimizers()
        for _ in range(600):
            optimizer.zero_grad()
            model.step((x, y))["loss"].backward()
            optimizer.step()
        errors = [p.detach() - start[name] - change[name] for name, p in model.named_parameters()]
        missed.append(float(size(errors) / size(change.values())))
        # twice the movement: both factors of a neuron a * relu(w . x) change by that part
        assert missed[-1] < 2 * float(size(change.values()) / size(start.values()))
    # ||delta|| / ||theta|| falls as the square of the scale; the next order is a thousandth of it
    assert missed[0] / missed[1] == pytest.approx(100, rel=0.01)


class Noted(TwoLayerReLU):
    """A network that keeps what is logged."""

    def log(self, name: str, value: Any, *_: Any, **__: Any) -> None:
        self.__dict__.setdefault("logged", {})[name] = float(value)


def watched(model: TwoLayerReLU, callback: ScalingPath, data: Any) -> dict[str, float]:
    model.__class__ = Noted
    with torch.no_grad():
        callback.on_test_epoch_end(SimpleNamespace(datamodule=data), model)  # type: ignore[arg-type]
    logged: dict[str, float] = model.__dict__["logged"]
    return logged


def test_what_is_measured_of_the_straight_lines_is_exact() -> None:
    model, data, callback = interpolating_network(), InterpolationPoints(), ScalingPath()
    trainer: Any = SimpleNamespace(datamodule=data)
    callback.on_train_start(trainer, model)
    logged = watched(model, callback, data)
    # the points' values are rounded to float32, by 3e-8, and six slopes are their differences over 0.4
    assert logged["test/total_variation"] == pytest.approx(19.5, abs=1e-5)
    assert logged["test/train_mse"] < 1e-25
    assert logged["test/movement"] == 0
    assert logged["test/kernel_distance"] < 1e-12  # there is nothing to change: J^+ 0


def test_a_training_that_goes_on_keeps_its_start() -> None:
    model, data, first = made(), InterpolationPoints(), ScalingPath(grid=11)
    trainer: Any = SimpleNamespace(datamodule=data)
    first.on_train_start(trainer, model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    again = ScalingPath(grid=11)
    again.load_state_dict(first.state_dict())
    again.on_train_start(trainer, model)
    assert watched(model, again, data)["test/movement"] == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: made(init="uniform"), "init must be 'sphere' or 'gaussian', got 'uniform'"),
        (lambda: made(scale=0.0), "scale must be positive, got 0.0"),
        (lambda: made(scale=float("nan")), "scale must be positive, got nan"),
        (lambda: InterpolationPoints(steps_per_epoch=0), "steps_per_epoch must be at least 1, got 0"),
        (lambda: ScalingPath(grid=2), "grid must be at least 3, got 2"),
        (
            lambda: ScalingPath().on_train_start(SimpleNamespace(datamodule=ThreeBumps()), made()),  # type: ignore[arg-type]
            "the curve is drawn through InterpolationPoints, and ThreeBumps has none",
        ),
    ],
)
def test_bad_values_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()

"""Neural controlled differential equations: invariances of what is driven by a path, and cases that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torchcde
from torch import Tensor

from datamodules import Spirals
from zoo._interpolation import INTERPOLATIONS
from zoo.differential import NeuralCDE

N, T = 5, 9
Series = tuple[Tensor, Tensor, Tensor]


def made(interpolation: str = "linear", **hyperparameters: Any) -> NeuralCDE:
    torch.manual_seed(0)
    model = NeuralCDE(2, 3, interpolation=interpolation, **{"width": 16} | hyperparameters).double()
    model.field.network[1] = torch.nn.Softplus()  # across a kink no solver has its order
    return model


def series(gaps: float = 0.3) -> Series:
    draw = torch.Generator().manual_seed(1)
    times = (torch.rand(N, T, generator=draw, dtype=torch.float64) + 0.2).cumsum(1)
    values = torch.randn(N, T, 2, generator=draw, dtype=torch.float64)
    mask = torch.rand(N, T, 2, generator=draw) >= gaps
    mask[:, 0], mask[:, -1] = True, True
    return torch.where(mask, values, 0.0), mask, times


def test_a_constant_field_integrates_the_path_to_its_increment() -> None:
    """dz = M dX has the solution z(K) = z(0) + M (X(K) - X(0)), whatever the path does between."""
    for interpolation in INTERPOLATIONS:
        model, (values, mask, times) = made(interpolation), series()
        last: Any = model.field.network[-2]
        with torch.no_grad():
            last.weight.zero_()
        states = model.states(values, mask, times)
        matrix = last.bias.tanh().unflatten(0, model.field.shape)
        x = torch.cat([times[..., None], values], -1)
        # rk4 is exact for quadratic derivatives, but takes them a millionth inside each end of a piece
        torch.testing.assert_close(states[-1], states[0] + (x[:, -1] - x[:, 0]) @ matrix.mT, rtol=0, atol=1e-5)


@pytest.mark.parametrize("interpolation", ["linear", "hermite"])
def test_states_are_those_of_torchcde(interpolation: str) -> None:
    model, (values, mask, times) = made(interpolation, step=1 / 16), series()
    gaps = torch.cat([times[..., None], torch.where(mask, values, torch.nan)], -1)
    for n in range(N):  # torchcde's series share their times, as a batch of one does
        x, t = gaps[n : n + 1], times[n]
        if interpolation == "linear":
            path: Any = torchcde.LinearInterpolation(torchcde.linear_interpolation_coeffs(x, t), t)
        else:
            path = torchcde.CubicSpline(torchcde.hermite_cubic_coefficients_with_backward_differences(x, t), t)
        z0 = model.start(path.evaluate(t[0]))
        options = {"jump_t": t} if interpolation == "linear" else {}
        theirs = torchcde.cdeint(
            path, Driven(model), z0, t, adjoint=False, method="dopri5", rtol=1e-9, atol=1e-9, options=options
        )
        found = model.states(*(a[n : n + 1] for a in (values, mask, times)))
        # a millionth inside each end of a piece, and rk4's error in a sixteenth of one; the other's tolerance is less
        torch.testing.assert_close(found[:, 0], theirs[0], rtol=0, atol=1e-5)


class Driven(torch.nn.Module):
    """A model's field in torchcde's form."""

    def __init__(self, model: NeuralCDE) -> None:
        super().__init__()
        self.field = model.field

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return self.field(z)


@pytest.mark.parametrize("interpolation", ["linear", "rectilinear"])
def test_rk4_along_a_broken_line_is_of_order_four(interpolation: str) -> None:
    """No step crosses a corner: across one the order would be 1."""
    args = series()
    fine = made(interpolation, step=1 / 64).states(*args)[-1]
    errors = [float((made(interpolation, step=s).states(*args)[-1] - fine).norm().detach()) for s in (1 / 4, 1 / 8)]
    assert torch.tensor(errors[0] / errors[1]).log2().item() == pytest.approx(4, abs=0.5)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_what_a_series_is_filled_up_with_has_no_influence(interpolation: str) -> None:
    model, (values, mask, times) = made(interpolation), series()
    more = torch.cat([times, times[:, -1:] + torch.tensor([0.1, 7.0, 8.0])], 1)
    padded = torch.cat([values, torch.full((N, 3, 2), 9.0).double()], 1)
    unseen = torch.cat([mask, torch.zeros(N, 3, 2, dtype=torch.bool)], 1)
    torch.testing.assert_close(model(padded, unseen, more), model(values, mask, times), rtol=1e-10, atol=1e-10)


def test_an_observation_on_the_line_between_its_neighbours_changes_nothing() -> None:
    """A linear path is the same with a knot more on it: the state does not depend on how the path is parametrised."""
    model = made(step=1 / 16)
    values, mask, times = series(gaps=0.0)
    gone = mask.clone()
    gone[:, 4] = False
    on_line = torch.where(gone, values, 0.0)
    w = ((times[:, 4] - times[:, 3]) / (times[:, 5] - times[:, 3]))[:, None]
    without = [torch.cat([a[:, :4], a[:, 5:]], 1) for a in (values, mask, times)]
    whole = values.clone()
    whole[:, 4] = (1 - w) * values[:, 3] + w * values[:, 5]
    expected = model(whole, mask, times)
    torch.testing.assert_close(model(on_line, gone, times), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(model(*without), expected, rtol=0, atol=1e-6)  # other steps: rk4's error


def test_dopri5_and_rk4_agree_and_evaluations_are_counted() -> None:
    args, labels = series(), torch.arange(N) % 3
    fixed, adaptive = made("hermite", step=1 / 16), made("hermite", method="dopri5")
    torch.testing.assert_close(adaptive(*args), fixed(*args), rtol=0, atol=1e-3)  # by the tolerance of 1e-5 a step
    assert float(fixed.step((*args, labels))["evaluations"]) == 4 * 16 * (T - 1)
    assert float(made("rectilinear").step((*args, labels))["evaluations"]) == 8 * (T - 1)
    assert float(adaptive.step((*args, labels))["evaluations"]) > 8 * (T - 1)  # it starts anew at each knot


def test_the_gradient_is_that_of_the_steps() -> None:
    model, args = made(width=3, hidden_channels=2), series()
    weight = model.start.weight.detach().clone()

    def total(given: Tensor) -> Tensor:
        return torch.func.functional_call(model, {"start.weight": given}, args).square().sum()

    assert torch.autograd.gradcheck(total, weight.requires_grad_())


@pytest.mark.parametrize("irregular", [False, True])
def test_spirals_turn_as_their_labels_say(irregular: bool) -> None:
    data = Spirals(irregular=irregular, noise=0.0, train_size=40)
    values, mask, times, labels = data.load("train")
    assert mask.all()
    assert bool((times.diff(dim=1) > 0).all())
    x, y = values.double().unbind(-1)
    angle = torch.atan2(y, x).numpy()
    turned = torch.from_numpy(np.unwrap(angle)).diff(dim=1).sum(1)
    span = times[:, -1] - times[:, 0]
    torch.testing.assert_close(turned, ((1 - 2 * labels) * span).double(), rtol=0, atol=1e-4)  # float32
    torch.testing.assert_close(values.norm(dim=-1), 1 / (1 + times / 2), rtol=1e-5, atol=1e-6)


def test_as_many_values_are_missing_as_asked() -> None:
    values, mask, _, labels = Spirals(missing=0.3, irregular=True, train_size=10).load("train")
    assert (mask.sum(1) == 70).all()
    assert mask[:, 0].all()
    assert not values[~mask].any()
    assert labels.tolist() == [0, 1] * 5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: made("cubic"), "interpolation must be one of 'linear', .*, got 'cubic'"),
        (lambda: made(width=0), "width must be at least 1, got 0"),
        (lambda: made(step=0.0), "step must be positive, got 0.0"),
        (lambda: made(method="dopri8"), "'dopri8' is refused"),
        (lambda: NeuralCDE(2, 1), "num_classes must be at least 2, got 1"),
        (lambda: Spirals(length=1), "length must be at least 2, got 1"),
        (lambda: Spirals(missing=1.0), r"missing must lie in \[0, 1\), got 1.0"),
        (lambda: Spirals(noise=-0.1), "noise must not be negative, got -0.1"),
        (lambda: Spirals(test_size=0), "test_size must be at least 1, got 0"),
    ],
)
def test_bad_values_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()

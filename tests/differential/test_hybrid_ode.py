"""Half-known laws: the simulation behind the data, the windows, and what is measured of a learned interaction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from benchmarks.observables.differential.interaction import Interaction, comparison
from datamodules import Digits, LotkaVolterra
from zoo.differential import HybridODE, LinearFlow


def test_trajectories_are_those_of_an_adaptive_solver() -> None:
    data = LotkaVolterra(trajectories=2)
    (states,) = data.load("test")

    def law(_: float, y: np.ndarray) -> list[float]:
        return [1.3 * y[0] - 0.9 * y[0] * y[1], 0.8 * y[0] * y[1] - 1.8 * y[1]]

    times = 0.1 * np.arange(121)
    for own in states.double():
        theirs = solve_ivp(law, (0, 12.1), own[0].numpy(), "DOP853", times, rtol=1e-10, atol=1e-10).y.T
        torch.testing.assert_close(own, torch.from_numpy(theirs), rtol=1e-5, atol=1e-5)  # float32, from the start on


def test_the_law_keeps_its_first_integral() -> None:
    """gamma u - delta log u + beta v - alpha log v is constant along every trajectory."""
    (states,) = LotkaVolterra().load("test")
    u, v = states.double().unbind(-1)
    kept = 0.8 * u - 1.8 * u.log() + 0.9 * v - 1.3 * v.log()
    torch.testing.assert_close(kept, kept[:, :1].expand_as(kept), rtol=0, atol=1e-5)  # float32


def test_windows_are_all_the_windows_of_noisy_trajectories() -> None:
    data = LotkaVolterra(trajectories=3, horizon=2.0, window=4, noise=0.0)
    (windows,) = data.load("train")
    assert windows.shape == (3 * (21 - 4), 5, 2)
    assert data.spec.sizes == {"train": 51, "val": 51, "test": 3}
    for own in windows.view(3, 17, 5, 2):
        assert torch.equal(own[1:, 0], own[:-1, 1])  # each starts an interval after the one before it
        assert torch.equal(own[4:, 0], own[:-4, 4])
    noisy = LotkaVolterra(trajectories=200, horizon=2.0, window=4, noise=0.01).load("train")[0]
    exact = LotkaVolterra(trajectories=200, horizon=2.0, window=4, noise=0.0).load("train")[0]
    difference = (noisy - exact)[:, 0].double()  # 200 · 17 · 2 normals: the deviation is known to 1.2 %
    assert float(difference.std()) == pytest.approx(0.01, rel=0.05)


class Law(torch.nn.Module):
    """The interaction that made the data."""

    def forward(self, y: Tensor) -> Tensor:
        product = y[..., :1] * y[..., 1:]
        return torch.cat([-0.9 * product, 0.8 * product], -1)


def test_the_true_interaction_solves_the_data_and_is_found() -> None:
    data = LotkaVolterra(trajectories=4)
    model = HybridODE(0.1, substeps=8)
    model.field.interaction = Law()
    (states,) = data.load("test")
    # rk4 with steps of 1/80 over twelve units of time, and float32
    assert float(model.step((states,))["loss"]) < 1e-8
    found = {name: float(value) for name, value in comparison(model, data, states.flatten(0, 1)).items()}
    assert found["beta"] == pytest.approx(0.9, rel=1e-6)
    assert found["gamma"] == pytest.approx(0.8, rel=1e-6)
    assert found["unexplained"] < 1e-12
    assert found["field_error"] < 1e-6


def test_what_is_not_a_product_is_unexplained() -> None:
    """n = (u, 0) has on states with u v orthogonal to u the coefficient 0, and all of it is unexplained."""
    model, data = HybridODE(0.1).double(), LotkaVolterra()

    class Linear(torch.nn.Module):
        def forward(self, y: Tensor) -> Tensor:
            return y * torch.tensor([1.0, 0.0])

    model.field.interaction = Linear()
    states = torch.tensor([[1.0, 1.0], [1.0, -1.0]]).double()
    found = comparison(model, data, states)
    assert float(found["beta"]) == 0
    assert float(found["unexplained"]) == 1


def test_without_rates_the_field_is_the_network() -> None:
    torch.manual_seed(0)
    model, y = HybridODE(0.1, (0.0, 0.0)), torch.randn(5, 2)
    assert torch.equal(model(y), model.interaction(y))
    torch.manual_seed(0)
    known = HybridODE(0.1)
    torch.testing.assert_close(known(y) - model(y), y * torch.tensor([1.3, -1.8]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HybridODE(0.0), "interval must be positive, got 0.0"),
        (lambda: HybridODE(0.1, ()), "rates must name one for each state, got none"),
        (lambda: HybridODE(0.1, substeps=0), "substeps must be at least 1, got 0"),
        (lambda: LotkaVolterra(window=0), "window must be at least 1, got 0"),
        (lambda: LotkaVolterra(horizon=0.3), "horizon must be at least a window, 0.5, got 0.3"),
        (lambda: LotkaVolterra(interval=0.0), "interval must be positive, got 0.0"),
        (lambda: LotkaVolterra(noise=-1.0), "noise must not be negative, got -1.0"),
    ],
)
def test_bad_values_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_only_interactions_and_known_laws_are_compared() -> None:
    assert Interaction().refusal(HybridODE(0.1), LotkaVolterra()) == ""
    assert Interaction().refusal(LinearFlow(2), LotkaVolterra()) == "LinearFlow has no interaction that is learned"
    assert Interaction().refusal(HybridODE(0.1), Digits()) == "Digits does not know its velocities"

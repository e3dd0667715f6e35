"""What is measured of fields on networks, on fields whose errors are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.observables.graph import disagreement, generalisation
from datamodules import NetworkDynamics, OddTarget
from datamodules.network_dynamics import rates


class Wrong:
    """The true rates with an error added, which logs and records into dictionaries."""

    def __init__(self, dynamics: str, error: Callable[[Tensor], Tensor]) -> None:
        self.dynamics, self.error, self.device = dynamics, error, torch.device("cpu")
        self.logged: dict[str, float] = {}
        self.recorded: dict[str, Tensor] = {}

    def __call__(self, x: Tensor, edges: Tensor) -> Tensor:
        return rates(self.dynamics, x, edges[0]) + self.error(x)

    def log(self, name: str, value: Tensor) -> None:
        self.logged[name] = float(value)

    def record(self, name: str, array: Tensor) -> None:
        self.recorded[name] = array


def after_test(callback: Any, error: Callable[[Tensor], Tensor], **settings: Any) -> Wrong:
    data = NetworkDynamics(test_size=50, **settings)
    model = Wrong(data.dynamics, error)
    callback.on_test_epoch_end(SimpleNamespace(datamodule=data), model)
    return model


def test_errors_over_shifts_are_those_of_the_states_that_were_shifted() -> None:
    found = after_test(generalisation.OtherStates(), lambda x: x.mean(1, keepdim=True) * torch.ones_like(x)).logged
    assert found["test/error_shift_0.5"] == pytest.approx(1.0, abs=0.01)  # the mean of 1/2, and the shift
    assert found["test/least_rise"] == pytest.approx(0.1, abs=1e-5)
    # (1/2 + 1) / (1/2), with the mean of 5,000 uniform numbers, whose deviation is .0041: 3 deviations of 1 / mean
    assert found["test/rise"] == pytest.approx(3.0, abs=0.05)
    assert found["test/unseen"] == pytest.approx(1.0, abs=1e-5)
    assert found["test/relative_rise"] == pytest.approx(found["test/rise"], rel=1e-4)  # heat is as fast when shifted
    assert found["test/moment"] == pytest.approx(0.7 / 0.5, abs=0.05)  # rounded states have the mean of before
    assert found["test/inside"] == pytest.approx(0.75 / 0.5, abs=0.02)


def test_an_error_of_the_variance_is_no_error_of_the_first_moment() -> None:
    found = after_test(generalisation.OtherStates(), lambda x: x.var(1, keepdim=True) * torch.ones_like(x)).logged
    # 1/12 whatever the shift, and 1/4 of zeros and ones; that of 5,000 uniform numbers deviates by .0011 of .0833
    assert found["test/moment"] == pytest.approx(1 / 3, abs=0.014)
    assert found["test/inside"] == pytest.approx(1 / 4, abs=1e-5)


def test_independent_errors_cancel_by_the_root_of_the_number_of_nodes() -> None:
    draw = torch.Generator().manual_seed(0)
    found = after_test(generalisation.OtherSizes(), lambda x: 0.1 * torch.randn(x.shape, generator=draw)).logged
    # log of a deviation from 200 samples has a deviation of 1/20; the slope through four of them .05 / |log n| = .019
    assert found["test/cancellation_slope"] == pytest.approx(-0.5, abs=0.06)
    exact = math.sqrt(math.pi / 2)  # standard deviation over mean absolute value of a normal number
    assert exact * 0.8 < found["test/least_cancellation"] < exact < found["test/most_cancellation"] < exact * 1.2


def test_errors_that_are_equal_for_all_nodes_do_not_cancel() -> None:
    found = after_test(generalisation.OtherSizes(), lambda x: x[:, :1] * torch.ones_like(x)).logged
    assert found["test/cancellation_slope"] == pytest.approx(0.0, abs=0.06)
    assert found["test/imbalance"] == pytest.approx(0.5, abs=3 * 0.289 / 50**0.5)


def test_an_equal_error_of_all_nodes_grows_as_its_integral_along_heat() -> None:
    found = after_test(generalisation.OverTime(), lambda x: torch.full_like(x, 0.2)).logged
    assert found["test/path_error"] == pytest.approx(0.2 * generalisation.TIMES, rel=1e-4)
    assert found["test/growth"] == pytest.approx(1.0, rel=1e-4)  # the bound is reached


def test_alternating_errors_grow_less_along_heat() -> None:
    sign = torch.arange(100).remainder(2) * 2.0 - 1
    found = after_test(generalisation.OverTime(), lambda x: 0.2 * sign.expand_as(x)).logged
    assert 0 < found["test/growth"] <= 1
    assert found["test/path_error"] < 0.1 * generalisation.TIMES


def test_data_without_a_network_are_refused() -> None:
    model: Any = None
    assert "has no dynamics" in generalisation.OtherStates().refusal(model, OddTarget(dim=3))
    assert "give the data a bootstrap" in disagreement.NodePredictions().refusal(model, NetworkDynamics())
    assert not disagreement.NodePredictions().refusal(model, NetworkDynamics(bootstrap=0.9))


def test_disagreement_is_the_unbiased_variance_over_five_networks() -> None:
    predictions = np.arange(5.0)[:, None] * np.array([[1.0, 2.0, 0.0]])
    d = disagreement.disagreement(predictions, np.random.default_rng(0))
    np.testing.assert_allclose(d, [2.5, 10.0, 0.0])  # of 0 … 4: sum of squares 10 over 4
    many = np.random.default_rng(1).standard_normal((20, 20_000))
    mean = disagreement.disagreement(many, np.random.default_rng(2)).mean()
    assert mean == pytest.approx(1.0, abs=3 * (2 / 4 / 20_000) ** 0.5)  # Var d = 2 / 4 for normal numbers


def test_inputs_like_those_of_the_null_sample_are_accepted_but_for_the_level() -> None:
    null = np.arange(1000.0)
    assert disagreement.accepted(null, null) == 0.951  # p = (1000 - rank) / 1000 is at least .05 up to rank 950
    assert disagreement.accepted(null + 1000, null) == 0.0
    assert disagreement.accepted(np.zeros(10), null) == 1.0


def test_predictions_are_recorded_for_the_same_inputs_whatever_the_seed() -> None:
    found = [
        after_test(disagreement.NodePredictions(), torch.zeros_like, bootstrap=0.9, seed=seed, train_size=50).recorded
        for seed in range(2)
    ]
    assert found[0].keys() == found[1].keys() >= {"prediction_train", "prediction_shift_1.0", "prediction_dense"}
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])

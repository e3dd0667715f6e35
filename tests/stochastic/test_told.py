"""What the Ornstein-Uhlenbeck benchmark draws and states: floors of the error, and a naive model that reaches one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.figures.stochastic.ornstein_uhlenbeck import floors
from benchmarks.observables.stochastic.told import SHOWN, Told
from datamodules import IrregularUCR, OrnsteinUhlenbeck
from zoo.stochastic import NeuralSDE
from zoo.time_series import GRUD


@pytest.mark.parametrize("theta", [0.2, 0.7, 0.0])
def test_floors_are_the_errors_of_the_conditional_means(theta: float) -> None:
    arguments: dict[str, Any] = {"theta": theta, "sigma": 0.1, "horizon": 10.0, "length": 20}
    x = OrnsteinUhlenbeck(**arguments, test_size=20_000).load("test")[0][..., 0].double()
    kept = 1 - theta * 0.5
    of_start = (x - kept ** torch.arange(20)).square().mean(1)
    of_before = (x[:, 1:] - kept * x[:, :-1]).square().sum(1) / 20
    for errors, floor in zip((of_start, of_before), floors(arguments), strict=True):
        # five deviations of the mean over paths
        assert float(errors.mean()) == pytest.approx(floor, abs=5 * float(errors.std()) / 20_000**0.5)


def test_the_floors_of_the_tutorials_process() -> None:
    start, before = floors({"theta": 0.2, "sigma": 0.1, "horizon": 10.0, "length": 20})
    assert start == pytest.approx(0.0195, abs=5e-5)
    assert before == pytest.approx(0.00475, abs=1e-12)


class Recorder(nn.Module):
    """A model that tells twice the series, and keeps what is recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, Tensor] = {}

    def record(self, name: str, array: Tensor) -> None:
        self.kept[name] = array

    def forward(self, values: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        return 2 * values


def test_what_is_told_lies_beside_the_series() -> None:
    model, data = Recorder(), OrnsteinUhlenbeck(test_size=9)
    trainer: Any = SimpleNamespace(datamodule=SimpleNamespace(tensors=data.load))
    Told().on_test_epoch_end(trainer, model)
    values, _, times = data.load("test")
    assert torch.equal(model.kept["values"], values[:SHOWN])
    assert torch.equal(model.kept["told"], 2 * values[:SHOWN])
    assert torch.equal(model.kept["times"], times[:SHOWN])


def test_where_there_are_classes_no_series_is_told() -> None:
    assert Told().refusal(GRUD(2, 3), IrregularUCR()) == "IrregularUCR has classes, and no series to tell"
    assert not Told().refusal(NeuralSDE(2, hidden_channels=4, width=4), OrnsteinUhlenbeck())

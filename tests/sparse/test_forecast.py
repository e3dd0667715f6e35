"""Rolling forecasts of the electrolysis cell, and what they and an ensemble's structure are judged by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from benchmarks import documents, plan
from benchmarks.grouping import grouped
from benchmarks.observables.sparse.ensembles import statistics
from benchmarks.observables.sparse.forecast import Forecast, judged, reaches, rolled_out
from benchmarks.schema import read_benchmark
from benchmarks.store import Result
from datamodules import Digits, Electrolysis
from datamodules._hall_heroult import DT, rk4
from zoo.sparse import DynamicsNetwork, FullyConnected


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ZOO_CACHE_DIR", str(tmp_path))


def cells(**settings: Any) -> Electrolysis:
    return Electrolysis(**({"simulations": 2, "test_simulations": 3, "val_simulations": 0, "steps": 150} | settings))


class TrueRates(nn.Module):
    """The simulator's own step in place of a network."""

    def __init__(self, data: Electrolysis) -> None:
        super().__init__()
        self.about = data.statistics

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        values = z.double() * self.about.input_std + self.about.input_mean
        x, u = values[:, :8], values[:, 8:]
        return ((rk4(x, u) - x) / DT - self.about.rate_mean) / self.about.rate_std


def test_the_true_rates_forecast_the_true_course() -> None:
    data = cells()
    states, inputs = data.trajectories("test")
    found = rolled_out(TrueRates(data), states[:, 0], inputs, data.statistics, DT)
    errors = (found - states) / data.statistics.input_std[:8]
    # the rates see states in single precision, about 1e-7 of a deviation, and the cell forgets such errors
    assert errors.abs().max() < 1e-5


def test_no_change_is_forecast_by_rates_of_zero() -> None:
    """A network of constant output -mean / std gives rates of zero: the state stays where it starts."""
    data = cells()
    about, (states, inputs) = data.statistics, data.trajectories("test")

    class Still(nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return (-about.rate_mean / about.rate_std).expand(len(z), 8)

    found = rolled_out(Still(), states[:, 0], inputs, about, DT)
    torch.testing.assert_close(found, states[:, :1].expand_as(found), rtol=1e-12, atol=1e-9)


def test_averages_leave_out_what_is_lost() -> None:
    errors = torch.zeros(4, 5, 8, dtype=torch.float64)
    errors[0] = 0.5
    errors[1, :, :2] = -2.0  # 0.5 on average over the states, 1 when squared
    errors[2, 3] = 3.1
    errors[3, 4, 0] = torch.nan
    squared, absolute, lost = judged(errors)
    assert float(squared) == pytest.approx((0.25 + 1.0) / 2, rel=1e-12)
    assert float(absolute) == pytest.approx(0.5, rel=1e-12)
    assert float(lost) == 0.5
    errors[2, 3] = 3.0  # not beyond the limit
    assert float(judged(errors)[2]) == 0.25
    assert [float(value) for value in judged(errors[3:])] == [9.0, 3.0, 1.0]


def test_what_becomes_infinite_is_lost_from_then_on() -> None:
    data = cells()
    states, inputs = data.trajectories("test")

    class Exploding(nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return 1e30 * z[:, :8] ** 3

    errors = rolled_out(Exploding(), states[:, 0], inputs, data.statistics, DT) - states
    assert not errors[:, -1].isfinite().any()
    assert float(judged(errors)[2]) == 1.0


def test_paths_of_connections_are_those_of_a_graph() -> None:
    """Beside a search through the graph, from each input."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(*shape, generator=generator) for shape in ((6, 4), (5, 6), (3, 5))]
    for threshold in (0.5, 1.0, 1.5, 2.5):
        found = reaches(weights, threshold)
        for start in range(4):
            reached = {start}
            for weight in weights:
                reached = {to for to in range(len(weight)) for at in reached if abs(weight[to, at]) >= threshold}
            assert set(found[:, start].nonzero().flatten().tolist()) == reached


def test_a_skip_reaches_past_the_hidden_layers() -> None:
    weights = [torch.zeros(6, 4), torch.zeros(5, 6 + 4), torch.zeros(3, 5 + 4)]
    weights[2][1, 5 + 2] = 1.0  # from input 2 to output 1
    weights[1][3, 6 + 0] = weights[2][0, 3] = 1.0  # from input 0 by way of a hidden unit to output 0
    assert reaches(weights, 0.5, skip=True).nonzero().tolist() == [[0, 0], [1, 2]]


def result(folder: Path, model: str, l1: float, seed: int, rate: float, connections: list[int]) -> Result:
    own = folder / f"{model}-{l1}-{seed}"
    own.mkdir()
    config = {"data": {"init_args": {"seed": seed, "simulations": 4}}, "model": {"init_args": {"l1": l1}}}
    (own / "config.yaml").write_text(json.dumps(config))
    np.savez(own / "arrays.npz", connections=np.array([connections]))
    point = {"model.init_args.l1": l1} if l1 else {}
    metrics = {"test/blow_ups_5000": rate}
    return Result(own.name, "b", model, seed, point, metrics=metrics, folder=str(own), status="finished")


def test_an_ensemble_is_compared_with_the_dense_one_of_its_data(tmp_path: Path) -> None:
    """x5 has (2 + 5) / 2 = 3.5 connections, and the least of the others, x8, (4 + 5) / 2."""
    first, second = [9, 9, 9, 9, 2, 9, 9, 4, 0, 0, 0, 0, 0], [9, 9, 9, 9, 5, 9, 9, 5, 0, 0, 0, 0, 0]
    runs = [result(tmp_path, "dense", 0.0, seed, rate, first) for seed, rate in enumerate((0.6, 0.0))]
    runs += [
        result(tmp_path, "sparse", 0.1, seed, rate, some)
        for seed, (rate, some) in enumerate(((0.1, first), (0.05, second)))
    ]
    dense, sparse = statistics(runs)
    assert (sparse["model"], sparse["point"], sparse["n"]) == ("sparse", {"model.init_args.l1": 0.1}, 2)
    assert sparse["metrics"]["ensemble/x5_surplus"] == pytest.approx(-1.0)
    assert sparse["metrics"]["ensemble/blow_ups_5000_to_dense"] == pytest.approx(0.25)
    assert set(dense["metrics"]) == {"ensemble/x5_surplus"}
    for run in runs[:2]:
        run.metrics["test/blow_ups_5000"] = 0.0
    assert "ensemble/blow_ups_5000_to_dense" not in statistics(runs)[1]["metrics"]


def test_all_penalties_and_seeds_of_the_study_train_in_one_stack(tmp_path: Path) -> None:
    """Dense and sparse ones are labels of their own, and stack all the same: 4 penalties, 8 seeds."""
    path = documents.benchmark_files()["sparse/electrolysis"]
    document = documents.read(path)
    document["models"] = {name: document["models"][name] for name in ("dense", "sparse")}
    document["claims"] = []
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump(document))
    runs = plan.make([(read_benchmark("own", own, documents.read(own), {}), True)], True).runs
    assert [len(group) for group in grouped(runs, runs, tmp_path, 1)] == [32]


def test_what_cannot_be_followed_is_refused() -> None:
    with pytest.raises(ValueError, match=r"windows must be pairs of a step and a later one, got \[5, 5\]"):
        Forecast(windows=[[5, 5]])
    follows = Forecast()
    assert "ends at step 5000, and the data's trajectories have 150" in follows.refusal(DynamicsNetwork(), cells())
    assert "Digits has none" in follows.refusal(DynamicsNetwork(), Digits())
    assert "not by FullyConnected" in follows.refusal(FullyConnected(13, 8), cells(steps=5000))
    assert follows.refusal(DynamicsNetwork(), cells(steps=5000)) == ""

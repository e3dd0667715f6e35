"""How far the law of paths is from that of a process: tests of two samples, and paths of known distance."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scipy.stats import ks_2samp, wasserstein_distance
from torch import Tensor, nn

from benchmarks.observables.stochastic.path_laws import SHOWN, PathLaws, distances
from benchmarks.observables.stochastic.two_samples import autocorrelation, classified, kolmogorov_smirnov, transport
from datamodules import ForcedOrnsteinUhlenbeck, OrnsteinUhlenbeck
from tests.stochastic.adversary import data, made
from zoo.stochastic import NeuralSDE


def test_distances_of_two_samples_are_scipys() -> None:
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(300, 2, generator=draw), 0.5 + 2 * torch.randn(300, 2, generator=draw)
    x[:50, 0] = y[:50, 0] = 1.0  # values that are equal
    for k in range(2):
        a, b = x[:, k].numpy(), y[:, k].numpy()
        assert float(transport(x, y)[k]) == pytest.approx(wasserstein_distance(a, b), rel=1e-5)
        assert float(kolmogorov_smirnov(x, y)[k]) == pytest.approx(ks_2samp(a, b).statistic, abs=1e-5)


def test_the_classifier_is_calibrated_and_tells_other_laws_apart() -> None:
    size = 2000
    found = []
    for seed in range(8):
        draw = torch.Generator().manual_seed(seed)
        found.append(classified(*(torch.randn(size, 10, generator=draw) for _ in range(2))))
    tried = 8 * size / 2  # of either sample, over all seeds
    accuracy, area = (sum(column) / 8 for column in zip(*found, strict=True))
    assert accuracy == pytest.approx(0.5, abs=4 / math.sqrt(8 * tried))
    assert area == pytest.approx(0.5, abs=4 / math.sqrt(6 * tried))
    draw = torch.Generator().manual_seed(0)
    x, shifted = torch.randn(size, 10, generator=draw), 0.5 + torch.randn(size, 10, generator=draw)
    # the best judge of two normals that are 0.5 10^(1/2) apart: accuracy Phi(d / 2), area Phi(d / 2^(1/2))
    d = 0.5 * math.sqrt(10)
    phi = torch.distributions.Normal(0.0, 1.0).cdf
    accuracy, area = classified(x, shifted)
    assert accuracy == pytest.approx(float(phi(torch.tensor(d / 2))), abs=0.03)
    assert area == pytest.approx(float(phi(torch.tensor(d / math.sqrt(2)))), abs=0.03)
    assert classified(x, shifted) == (accuracy, area)


def test_autocorrelation_of_a_stationary_process_is_its_own() -> None:
    draw, a = torch.Generator().manual_seed(0), 0.8
    x = [torch.randn(20_000, generator=draw)]
    for _ in range(20):
        x.append(a * x[-1] + math.sqrt(1 - a * a) * torch.randn(20_000, generator=draw))
    found = autocorrelation(torch.stack(x, 1), (1, 4, 12))
    # five deviations of a correlation of 20,000 pairs
    torch.testing.assert_close(found, torch.tensor([a, a**4, a**12]), rtol=0, atol=5 / math.sqrt(20_000))


def test_measures_vanish_for_the_process_and_not_for_another() -> None:
    source = data(length=32, val_size=4000, test_size=4000)
    x, y = (source.load(split)[0][..., 0] for split in ("val", "test"))
    m, v = source.mean().float(), source.variance().float()
    same = {name: float(value) for name, value in distances(x, y, m, v).items()}
    assert same["marginal"] < 0.06  # two samples of 4000 normals: 0.025 in the mean
    assert same["distribution"] < 1.63 * math.sqrt(2 / 4000)  # the level of 1 %
    assert same["mean"] < 4 / math.sqrt(4000)
    assert same["deviation"] < 4 / math.sqrt(2 * 4000)
    assert same["area"] == pytest.approx(0.5, abs=4 / math.sqrt(6 * 2000))
    jumbled = torch.stack(
        [x[torch.randperm(4000, generator=torch.Generator().manual_seed(t)), t] for t in range(32)], 1
    )
    other = {name: float(value) for name, value in distances(jumbled, y, m, v).items()}
    assert other["marginal"] == pytest.approx(same["marginal"])  # the marginals are what they were
    assert other["autocorrelation"] > 0.5
    assert other["area"] > 0.8


class Known(nn.Module):
    """Gives the paths that it was made with, and keeps what it is given, logs and records."""

    def __init__(self, paths: Tensor) -> None:
        super().__init__()
        self.paths = paths
        self.given: tuple[Tensor, ...] = ()
        self.logged: dict[str, float] = {}
        self.kept: dict[str, Tensor] = {}

    def log(self, name: str, value: Tensor) -> None:
        self.logged[name] = float(value)

    def record(self, name: str, array: Tensor) -> None:
        self.kept[name] = array

    def forward(self, *noise: Tensor) -> Tensor:
        self.given = noise
        return self.paths


def told(source: ForcedOrnsteinUhlenbeck, paths: Tensor) -> Known:
    """What is measured of a model that generates these paths."""
    place = SimpleNamespace(tensors=source.load, mean=source.mean, variance=source.variance)
    trainer: Any = SimpleNamespace(datamodule=place)
    model = Known(paths)
    PathLaws().on_test_epoch_end(trainer, model)
    return model


def test_what_is_measured_of_shifted_and_of_widened_paths() -> None:
    source = data(length=16, val_size=SHOWN + 6, test_size=SHOWN + 6)
    (x, *noise), m, s = source.load("test"), source.mean().float(), source.variance().sqrt().float()
    shifted = told(source, x + s[:, None])
    found = shifted.logged
    assert all(map(torch.equal, shifted.given, noise))
    assert found["test/marginal"] == pytest.approx(1.0, rel=1e-5)  # by one deviation, at each time
    mean = x[..., 0].mean(0)
    assert found["test/mean"] == pytest.approx(float(((mean - m) / s + 1).abs().mean()), rel=1e-5)
    assert found["test/autocorrelation"] == pytest.approx(0.0, abs=1e-5)
    assert found["test/deviation"] < 4 / math.sqrt(2 * SHOWN)
    differences = [ks_2samp(*(y[:, t, 0].numpy() for y in (x, shifted.paths))).statistic for t in (2, 4, 8, 10, 14)]
    assert found["test/distribution"] == pytest.approx(sum(differences) / 5, abs=1e-5)
    assert 0.65 < found["test/accuracy"] < found["test/area"]
    # the validation paths have the law of the test
    floor = distances(source.load("val")[0][..., 0], x[..., 0], m, source.variance().float())
    assert {name: found[f"test/{name}_floor"] for name in floor} == pytest.approx(
        {name: float(value) for name, value in floor.items()}, rel=1e-5
    )
    assert len(found) == 2 * len(floor)
    torch.testing.assert_close(shifted.kept["paths"], x[:SHOWN, :, 0])
    torch.testing.assert_close(shifted.kept["made"], (x + s[:, None])[:SHOWN, :, 0])
    torch.testing.assert_close(shifted.kept["moments"], torch.stack([m, s.square()]))
    widened = told(source, mean[:, None] + 2 * (x - mean[:, None])).logged
    own = (x[..., 0].std(0) / s).log()
    assert widened["test/deviation"] == pytest.approx(float((own + math.log(2)).abs().mean()), rel=1e-5)
    assert widened["test/mean"] == pytest.approx(float(((mean - m) / s).abs().mean()), rel=1e-4)
    assert widened["test/autocorrelation"] == pytest.approx(0.0, abs=1e-5)
    assert widened["test/area"] > 0.6  # products of two tell variances apart
    normal = torch.randn(len(x), 1, 1, generator=torch.Generator().manual_seed(0))
    still = told(source, mean[:, None] + s[:, None] * normal).logged
    assert still["test/autocorrelation"] > 0.5  # paths that keep what they start with


def test_paths_that_are_not_finite_are_not_measured() -> None:
    source = data(length=13)
    paths = source.load("test")[0].clone()
    paths[3, 5], paths[7, 0], paths[7, 1] = math.nan, math.inf, math.nan
    with pytest.raises(FloatingPointError, match="2 of 64 paths of Known are not finite"):
        told(source, paths)


def test_only_generators_of_a_process_that_is_known_are_compared() -> None:
    assert PathLaws().refusal(made(), data(length=13)) == ""
    assert "paths of length 12 have no autocorrelation at lag 12: give" in PathLaws().refusal(made(), data(length=12))
    assert "must be of one number" in PathLaws().refusal(made(), data(length=13, val_size=63))
    assert PathLaws().refusal(NeuralSDE(2), data()) == "NeuralSDE generates no paths from noise"
    assert "does not know the moments" in PathLaws().refusal(made(), OrnsteinUhlenbeck())

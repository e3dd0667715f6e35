"""What is measured of paths: distances of their laws, spreads, and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch

from benchmarks.observables.stochastic.generated import GeneratedPaths, energy, gaussian, log_density
from benchmarks.observables.stochastic.posterior_paths import Evidence, PosteriorPaths, spreads
from datamodules import LorenzPaths, ObservedOrnsteinUhlenbeck
from zoo.differential import LinearFlow
from zoo.stochastic import LatentSDE, PosteriorSDE


def test_the_energy_distance_of_two_normals() -> None:
    """2 E|N(1, 2)| - 2 E|N(0, 2)|, by E|N(m, s^2)| = s (2 / pi)^(1/2) exp(-m^2 / 2 s^2) + m erf(m / s 2^(1/2))."""
    torch.manual_seed(0)
    x, y = torch.randn(2, 4, 3000, 1)
    folded = 2 / math.sqrt(math.pi) * math.exp(-0.25) + math.erf(0.5)
    truth = 2 * folded - 4 / math.sqrt(math.pi)
    assert float(energy(x, y + 1).mean()) == pytest.approx(truth, rel=0.06)  # three deviations of four such pairs
    assert float(energy(x, x).abs().max()) < 1e-6
    wide = energy(x.expand(-1, -1, 5), (y + 1).expand(-1, -1, 5))
    torch.testing.assert_close(wide, energy(x, y + 1), rtol=1e-3, atol=1e-3)  # the norm is a root mean square


def test_the_gaussian_control_has_the_moments_of_the_paths() -> None:
    given = LorenzPaths(length=4, test_size=400).truth("test")
    drawn = gaussian(given, 100_000, torch.Generator().manual_seed(0)).flatten(1)
    covariance = given.flatten(1).T.cov()
    bound = 5 * (2 / 100_000) ** 0.5 * covariance.diagonal().max()  # of an entry's deviation, at most
    assert float((drawn.T.cov() - covariance).abs().max()) < float(bound)
    assert float((drawn.mean(0) - given.flatten(1).mean(0)).abs().max()) < 5 * (float(bound) / 100_000) ** 0.5 + 0.02


def test_the_gaussian_control_has_the_likelihood_of_its_law() -> None:
    """In the mean -d/2 (1 + log(2 pi s^2)) nats for d independent normals of deviation s, whatever their means."""
    draw = torch.Generator().manual_seed(0)
    given, others = (0.3 * torch.randn(20_000, 2, 3, generator=draw) + torch.arange(3) for _ in "ab")
    truth = -3 * (1 + math.log(2 * math.pi * 0.09))
    assert float(log_density(others, given).mean()) == pytest.approx(truth, abs=5 * math.sqrt(3 / 20_000))


def test_spreads_tell_a_path_that_relaxes_from_one_that_is_seen() -> None:
    torch.manual_seed(0)
    last = 0.1 * torch.randn(100_000)
    end = 0.6 * last + 0.3 * torch.randn(100_000) + 1
    free = torch.randn(100_000)
    given = torch.stack([last, free, last + 1, end], 1), torch.tensor([0.0, 9.0, 1.5, 9.0])
    found = {name: float(v) for name, v in spreads(*given, torch.tensor([True, False, True, False])).items()}
    truth = {
        "seen_error": 0.5 / math.sqrt(2),
        "seen_spread": 0.1,
        "widest_spread": 1.0,
        "end_mean": 1.0,
        "end_spread": math.hypot(0.06, 0.3),
        "relaxation": 0.6,
        "end_noise": 0.3,
    }
    assert found == pytest.approx(truth, rel=0.03)  # five deviations of the slope, which has the largest


def test_observables_refuse_what_they_cannot_measure() -> None:
    series, flow = ObservedOrnsteinUhlenbeck(), LinearFlow(2)
    assert PosteriorPaths().refusal(PosteriorSDE(1, 0.1), series) == ""
    assert PosteriorPaths().refusal(flow, series) == "LinearFlow has no posterior of one series"
    assert Evidence().refusal(PosteriorSDE(1, 0.1, "normal"), series) == ""
    assert "no posterior that is known in closed form" in Evidence().refusal(PosteriorSDE(1, 0.1), series)
    assert GeneratedPaths().refusal(LatentSDE(3, 0.1), LorenzPaths()) == ""
    assert GeneratedPaths().refusal(flow, LorenzPaths()) == "LinearFlow generates no paths"
    assert GeneratedPaths().refusal(LatentSDE(3, 0.1), series) == "ObservedOrnsteinUhlenbeck does not know its truth"

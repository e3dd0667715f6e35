"""What is measured of paths: distances of their laws, spreads, and what it refuses."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.observables.stochastic.generated import GeneratedPaths, energy, gaussian, log_density
from benchmarks.observables.stochastic.posterior_paths import Evidence, PosteriorPaths, chain, conditioned, spreads
from datamodules import LorenzPaths, ObservedOrnsteinUhlenbeck
from tests.stochastic.test_latent_sde import Rate, one_series, posterior, rows
from zoo.differential import LinearFlow
from zoo.stochastic import LatentSDE, PosteriorSDE


class Recorder(nn.Module):
    """A model that keeps what is logged and recorded of it."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, Tensor] = {}

    def log(self, name: str, value: Tensor) -> None:
        self.kept[name.removeprefix("test/")] = value

    record = log


class Shifted(Recorder):
    """Generates the path by c_k too high, gives it back by 0.1 too low, and has a bound of 7 - 2 nats."""

    def __init__(self, path: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.path, self.shift = path, shift

    def generate(self, times: Tensor, normals: Tensor) -> Tensor:
        return (self.path + self.shift).repeat(len(times), 1, 1)

    def bound(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        return torch.full((len(batch[0]),), 7.0), torch.full((len(batch[0]),), 2.0)

    def forward(self, values: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        return self.path.expand(len(values), -1, -1) - 0.1


def measured(callback: Any, model: Any, **data: Any) -> dict[str, Tensor]:
    """What a callback logs and records at the end of a test of a model that keeps it."""
    trainer: Any = SimpleNamespace(datamodule=SimpleNamespace(**data))
    callback.on_test_epoch_end(trainer, model)
    return dict(model.kept)


def kept(model: PosteriorSDE) -> Any:
    """The model, with a `kept` of what is logged and recorded."""
    recorder: Any = Recorder()
    vars(model).update(kept=recorder.kept, log=recorder.log, record=recorder.log)
    return model


def test_generated_paths_are_measured_against_what_they_stand_for() -> None:
    """Two laws at a point each, by c apart, have energy distance 2 |c|; the series are normal numbers."""
    draw = torch.Generator().manual_seed(0)
    path, shift = torch.randn(4, 3, generator=draw).double(), torch.tensor([[0.1], [-0.2], [0.4], [0.0]]).double()
    series = {
        split: torch.randn(size, 4, 3, generator=draw).double() for split, size in (("test", 500), ("train", 4000))
    }
    series["train"] *= 2
    times, normals = torch.zeros(500, 4), torch.zeros(500, 4, 2)
    found = measured(
        GeneratedPaths(),
        Shifted(path, shift),
        tensors=lambda split: (series[split], torch.ones_like(series[split], dtype=torch.bool), times, normals),
        truth=lambda split: (path + (0.05 if split == "val" else 0)).repeat(500, 1, 1),
    )
    truth = {"energy": 2 * math.sqrt(0.21 / 4), "marginal": 2 * 0.7 / 4, "reconstruction": 0.1}
    truth |= {f"{name}_{of}": 0.1 for name in ("energy", "marginal") for of in ("floor", "gaussian")}
    assert {name: float(found[name]) for name in truth} == pytest.approx(truth, rel=1e-3)
    # the control expects deviation 2; five deviations of the mean over 500 series, 6^(1/2) / 4 each
    control = -6 * (1 / 4 + math.log(2 * math.pi * 4))
    assert float(found["over_gaussian"]) == pytest.approx(7 - 2 - control, abs=0.14)
    arrays = {"truth": path, "generated": path + shift, "gaussian": path + 0.05, "reconstructed": path - 0.1}
    for name, array in arrays.items():
        torch.testing.assert_close(found[name], array.repeat(32, 1, 1), rtol=0, atol=1e-5)


def test_the_exact_posterior_has_the_least_gap_and_no_error_of_the_mean() -> None:
    """Its steps have more noise than the posterior's: V_{k+1} = a_k^2 V_k + sigma^2 dt, a_k of the posterior."""
    size, steps = 20_000, 16
    model, times, seen, x, mean, least = posterior(steps)
    batch = rows(torch.randn(size, steps + 1, 1, generator=torch.Generator().manual_seed(0)).double(), times, seen, x)
    found = measured(Evidence(), kept(model), held_out=lambda _: batch)
    log_likelihood, kl = (part.detach() for part in model.bound(batch))
    allowed = 5 * float((log_likelihood - kl).std()) / math.sqrt(size)
    assert float(found["floor"]) == pytest.approx(least)
    assert float(found["gap"]) == pytest.approx(least, abs=allowed)
    assert allowed < least / 2  # it is told from -least, and from 0
    evidence, _, covariance = conditioned(chain(1.0, 0.5, times), seen, x - model.mu, model.scale)
    assert float(found["evidence"]) == pytest.approx(float(evidence))
    variance = [covariance[0, 0]]
    for k in range(steps):
        variance.append((covariance[k, k + 1] / covariance[k, k]) ** 2 * variance[-1] + 0.25 * 2 / steps)
    more = (torch.stack(variance) / covariance.diagonal()).sqrt() - 1
    assert float(found["mean_error"]) < 5 * float(1 + more.max()) / math.sqrt(size)
    assert float(found["deviation_error"]) == pytest.approx(
        float(more.square().mean().sqrt()), abs=5 / math.sqrt(2 * size)
    )
    torch.testing.assert_close(found["exact_mean"], mean)
    torch.testing.assert_close(found["exact_deviation"], covariance.diagonal().sqrt())


def test_the_paths_of_a_prior_have_its_quantiles_and_spreads() -> None:
    """What saw nothing has the prior's law, mu + V_k^(1/2) N(0, 1); q(y_0) alone is moved, by 1, and this decays."""
    size, steps = 20_000, 16
    model, times, seen, x = one_series(steps)
    model.field = Rate(lambda _, y: model.prior(0, y))
    model.mean.data += 1
    batch = rows(torch.randn(size, steps + 1, 1, generator=torch.Generator().manual_seed(0)).double(), times, seen, x)
    found = measured(PosteriorPaths(), kept(model), held_out=lambda _: batch)
    mean, deviation = (
        0.3 + (1 - 2 / steps) ** torch.arange(steps + 1).double(),
        chain(1.0, 0.5, times).diagonal().sqrt(),
    )
    levels = torch.tensor([-1.95996, -0.67449, 0.0, 0.67449, 1.95996]).double()[:, None]
    # five deviations of the outer quantiles, (.025 x .975 / size)^(1/2) / .0584 in units of the paths'
    allowed = 5 * 2.67 / math.sqrt(size) * float(deviation.max())
    torch.testing.assert_close(found["quantiles"], mean + levels * deviation, rtol=0, atol=allowed)
    torch.testing.assert_close(found["prior_quantiles"], 0.3 + levels * deviation, rtol=0, atol=allowed)
    known = mean[seen] - x
    assert float(found["seen_error"]) == pytest.approx(float(known.square().mean().sqrt()), abs=0.02)
    assert float(found["end_mean"]) == pytest.approx(float(mean[-1]), abs=0.02)
    assert float(found["end_spread"]) == pytest.approx(float(deviation[-1]), rel=0.03)
    assert torch.equal(found["times"], times)
    assert torch.equal(found["values"][seen], x)
    assert torch.equal(found["mask"], seen)
    torch.testing.assert_close(found["paths"], model.drawn(*batch[2:])[0][:5, :, 0])


def test_the_energy_distance_of_two_normals() -> None:
    """2 E|N(1, 2)| - 2 E|N(0, 2)|, by E|N(m, s^2)| = s (2 / pi)^(1/2) exp(-m^2 / 2 s^2) + m erf(m / s 2^(1/2)).

    The points are quantiles, for which the means are sums over a grid: the rest is what their tails lack.
    """
    x = torch.special.ndtri((torch.arange(400, dtype=torch.float64) + 0.5) / 400)[None, :, None]
    folded = 2 / math.sqrt(math.pi) * math.exp(-0.25) + math.erf(0.5)
    truth = 2 * folded - 4 / math.sqrt(math.pi)
    assert float(energy(x, x + 1)) == pytest.approx(truth, rel=2e-3)
    assert float(energy(x, x).abs()) < 1e-12
    wide = energy(x.expand(-1, -1, 5), (x + 1).expand(-1, -1, 5))
    torch.testing.assert_close(wide, energy(x, x + 1))  # the norm is a root mean square


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

"""Paths of processes: their moments in closed form, what noise and normalising do, and one series in every row."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch

from datamodules import (
    GeometricBrownianPaths,
    LorenzPaths,
    ObservedOrnsteinUhlenbeck,
    OrnsteinUhlenbeck,
    SegmentedCosine,
)
from datamodules.lorenz import lorenz
from datamodules.single_series import knots

SIZE = 20_000


def test_geometric_brownian_paths_have_the_moments_of_their_law() -> None:
    values, mask, times = GeometricBrownianPaths(mu=0.3, sigma=0.4, start=2.0, horizon=1.5, test_size=SIZE).load("test")
    assert bool(mask.all())
    assert bool((values > 0).all())
    t, x = times[0].double(), values[..., 0].double()
    assert float(t[-1]) == 1.5
    assert bool((x[:, 0] == 2).all())
    mean, growth = 2 * (0.3 * t).exp(), (0.16 * t).exp()
    variance = mean**2 * (growth - 1)
    kurtosis = growth**4 + 2 * growth**3 + 3 * growth**2 - 3  # of a lognormal
    assert bool(((x.mean(0) - mean).abs() <= 5 * (variance / SIZE).sqrt() + 1e-6).all())
    error = variance * ((kurtosis - 1) / SIZE).sqrt()  # of the mean of squares
    assert bool(((x.var(0) - variance).abs() <= 5 * error + 1e-9).all())
    steps = x.log().diff(dim=1)
    correlation = torch.corrcoef(steps.T) - torch.eye(19).double()
    assert float(correlation.abs().max()) < 5 / math.sqrt(SIZE)  # independent increments


def test_without_noise_geometric_brownian_motion_grows_exponentially() -> None:
    values, _, times = GeometricBrownianPaths(mu=-0.7, sigma=0.0, test_size=2).load("test")
    torch.testing.assert_close(values[..., 0], (-0.7 * times).exp())


def test_lorenz_paths_converge_along_the_same_motion() -> None:
    """The noise does not commute with the drift: Euler's method is of strong order 1/2, and 1 where it matters less."""
    draw = torch.Generator().manual_seed(0)
    start, count = torch.randn(200, 3, generator=draw).double(), 1600
    fine = math.sqrt(0.5 / count) * torch.randn(count, 200, 3, generator=draw).double()
    ends = {}
    for factor in (1, 8, 16, 32):
        steps = fine.unflatten(0, (-1, factor)).sum(1)
        ends[factor] = lorenz(start, steps, 0.5 * factor / count)[:, -1]
    errors = [float((ends[factor] - ends[1]).square().mean().sqrt()) for factor in (8, 16, 32)]
    assert all(1.3 < coarse / fine < 2.6 for fine, coarse in pairwise(errors))


def test_lorenz_paths_balance_in_the_mean_and_have_no_preferred_side() -> None:
    """d E[Z] / dt = E[X Y] - 8/3 E[Z] and d E[X] / dt = 10 (E[Y] - E[X]): Ito's noise is not in the means."""
    size, count, h = 4000, 500, 0.001
    draw = torch.Generator().manual_seed(0)
    start = torch.randn(size, 3, generator=draw).double()
    x, y, z = lorenz(start, math.sqrt(h) * torch.randn(count, size, 3, generator=draw).double(), h).unbind(-1)
    for change, rate in ((z[:, -1] - z[:, 0], x * y - 8 / 3 * z), (x[:, -1] - x[:, 0], 10 * (y - x))):
        rest = change - h * rate[:, :-1].sum(1)  # a martingale
        assert abs(float(rest.mean())) < 5 * float(rest.std()) / math.sqrt(size)
        assert float(rest.std()) > 0.1
    for side in (x, y):
        assert bool((side.mean(0).abs() <= 5 * side.std(0) / math.sqrt(size)).all())


def test_lorenz_paths_are_normalised_and_seen_with_noise() -> None:
    data = LorenzPaths(length=11, noise=0.2, train_size=300, test_size=300)
    training = data.truth("train")
    torch.testing.assert_close(training.mean((0, 1)), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(training.std((0, 1)), torch.ones(3))
    values, mask, times, normals = data.load("test")
    noise = values - data.truth("test")
    assert float(noise.std()) == pytest.approx(0.2, rel=5 / math.sqrt(2 * noise.numel()))
    assert bool(mask.all())
    torch.testing.assert_close(times, torch.linspace(0, 2, 11).repeat(300, 1))
    raw, *_ = data.raw("test")
    (_, mean), (_, deviation) = data.preprocessing
    torch.testing.assert_close((raw - torch.tensor(mean)) / torch.tensor(deviation), values, rtol=1e-4, atol=1e-4)
    assert torch.equal(normals, data.load("test")[3])


def test_training_batches_of_lorenz_paths_draw_their_normals_anew() -> None:
    data = LorenzPaths(length=4, train_size=6, batch_size=6)
    loader = data.train_dataloader()
    (one,), (two,) = list(loader), list(loader)
    assert torch.equal(one[3], two[3])  # the same epoch
    loader.set_epoch(1)
    (other,) = list(loader)
    assert not torch.equal(one[3], other[3])
    assert torch.equal(one[0].sort(0).values, other[0].sort(0).values)


def test_knots_keep_the_stops_and_no_gap_is_longer_than_the_step() -> None:
    times, places = knots([0.0, 0.3, 0.35, 1.0], 0.1)
    assert [times[k] for k in places] == [0.0, 0.3, 0.35, 1.0]
    gaps = [b - a for a, b in pairwise(times)]
    assert max(gaps) <= 0.1 + 1e-9
    assert len(times) == 1 + 3 + 1 + 7


def test_the_cosine_is_seen_in_two_segments() -> None:
    values, mask, times, normals = SegmentedCosine(test_size=3).held_out("test")
    seen = mask[0, :, 0]
    t = times[0, seen]
    torch.testing.assert_close(t, torch.cat([torch.linspace(0.3, 0.8, 10), torch.linspace(1.2, 1.5, 10)]))
    torch.testing.assert_close(values[0, seen, 0], (2 * math.pi * t).cos(), rtol=0, atol=1e-5)
    assert (float(times[0, 0]), float(times[0, -1])) == (0, 2)
    assert float(times.diff(dim=1).max()) <= 0.02 + 1e-6
    assert torch.equal(values[0], values[2])
    assert not torch.equal(normals[0], normals[2])


def test_what_is_seen_of_an_ornstein_uhlenbeck_process_has_its_covariance_and_the_noises() -> None:
    size = 4000
    drawn = torch.stack([ObservedOrnsteinUhlenbeck(mu=0.5, theta=2.0, count=3, seed=s).seen() for s in range(size)])
    lag = 2 / 3 * (torch.arange(3)[:, None] - torch.arange(3)).abs()
    truth = 0.25 / 4 * (-2 * lag).exp() + 0.04 * torch.eye(3)
    error = torch.sqrt((truth**2 + torch.outer(truth.diagonal(), truth.diagonal())) / size)
    assert bool(((drawn.T.cov() - truth).abs() <= 5 * error).all())
    assert bool(((drawn.mean(0) - 0.5).abs() <= 5 * (truth.diagonal() / size).sqrt()).all())


@pytest.mark.parametrize("horizon", [0.1, 0.7, 1.0, 2.0, 3.3, 7.7])
def test_the_last_observation_is_at_the_end_whatever_the_rounding(horizon: float) -> None:
    """Where the sum of count gaps is a little less than the horizon, there must be no step from one to the other."""
    for count in range(1, 31):
        data = ObservedOrnsteinUhlenbeck(count=count, horizon=horizon, test_size=1)
        _, mask, times, _ = data.held_out("test")
        assert float(times.diff(dim=1).min()) > 1e-4
        assert float(times[0, -1]) == pytest.approx(horizon)
        assert bool(mask[0, -1, 0])
        assert int(mask.sum()) == count
        torch.testing.assert_close(times[mask[..., 0]].diff(), torch.full((count - 1,), horizon / count))


def test_all_splits_hold_the_one_series() -> None:
    data = ObservedOrnsteinUhlenbeck(batch_size=2, steps_per_epoch=2, test_size=2)
    first, second = data.train_dataloader()
    (held,) = data.test_dataloader()
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[0], held[0])
    assert not torch.equal(first[3], second[3])
    assert not torch.equal(ObservedOrnsteinUhlenbeck(seed=1).seen(), data.seen())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GeometricBrownianPaths(start=0.0), "start must be positive and finite, got 0.0"),
        (lambda: GeometricBrownianPaths(sigma=-1.0), "sigma must be finite and not negative, got -1.0"),
        (lambda: GeometricBrownianPaths(length=1), "length must be at least 2, got 1"),
        (lambda: LorenzPaths(noise=0.0), "noise must be positive and finite, got 0.0"),
        (lambda: LorenzPaths(length=1), "length must be at least 2, got 1"),
        (lambda: LorenzPaths(step=0.0), "step must be positive and finite, got 0.0"),
        (
            lambda: LorenzPaths(step=0.1, length=4).load("val"),
            "step must be shorter than 0.0952381 for paths that stay",
        ),
        (lambda: SegmentedCosine(step=0.0), "step must be positive, got 0.0"),
        (lambda: SegmentedCosine(test_size=0), "test_size must be at least 1, got 0"),
        (lambda: LorenzPaths(horizon=math.inf), "horizon must be positive and finite, got inf"),
        (lambda: OrnsteinUhlenbeck(horizon=math.inf), "horizon must be positive and finite, got inf"),
        (lambda: OrnsteinUhlenbeck(start=math.nan), "start must be finite, got nan"),
        (lambda: OrnsteinUhlenbeck(theta=4.5), "theta must be at most 2 length / horizon = 4 for steps to settle"),
        (lambda: ObservedOrnsteinUhlenbeck(horizon=math.inf), "horizon must be positive and finite, got inf"),
        (lambda: ObservedOrnsteinUhlenbeck(theta=0.0), "theta must be positive and finite, got 0.0"),
        (lambda: ObservedOrnsteinUhlenbeck(count=0), "count must be at least 1, got 0"),
    ],
)
def test_bad_values_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()

"""Densities: that what is said of them is what the samples are drawn from."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from sklearn.datasets import make_moons
from torch import Tensor

from datamodules import Density, Gaussian, Moons
from datamodules._arrays import generator
from datamodules.densities import SHAPES
from zoo._preprocessing import preprocess

NAMES = sorted(SHAPES)
PLANE: list[Any] = [*(lambda name=name: Density(name) for name in NAMES), Moons]
IDS = [*NAMES, "moons"]


def squares(side: int, half: float = 5.0) -> tuple[Tensor, float]:
    """The midpoints of side by side squares of [-half, half]^2, and the area of one."""
    width = 2 * half / side
    u = -half + width * (torch.arange(side, dtype=torch.float64) + 0.5)
    return torch.cartesian_prod(u, u), width**2


def drawn(data: Any, size: int = 10_000) -> Tensor:
    x: Tensor = data.sample(size, generator(0, "test", 7))[0]
    return x


@pytest.mark.parametrize("make", PLANE, ids=IDS)
def test_the_density_integrates_to_one(make: Any) -> None:
    # midpoints of a smooth density: exact but for its Fourier modes beyond the grid's, exp(-2 (pi noise / width)^2) at
    # most 1e-8 for the least noise, 0.08, and width 1/12; the squares of the board are unions of cells
    points, area = squares(120)
    assert float(make().log_density(points).exp().sum() * area) == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("make", PLANE, ids=IDS)
def test_samples_have_the_moments_of_the_density(make: Any) -> None:
    """Mean of x, of x x^T and of log p(x), by samples and by the sum over a grid."""
    data = make()
    points, area = squares(120)
    log_p = data.log_density(points)
    weight = log_p.exp() * area

    def features(x: Tensor, log_p: Tensor) -> Tensor:
        x = x.double()
        return torch.stack([x[:, 0], x[:, 1], x[:, 0] ** 2, x[:, 1] ** 2, x[:, 0] * x[:, 1], log_p], 1)

    expected = (weight[:, None] * features(points, log_p.clamp(min=-1e4))).sum(0)
    x = drawn(data)
    found = features(x, data.log_density(x))
    z = (found.mean(0) - expected) / (found.std(0) / math.sqrt(len(x)) + 1e-9)
    assert float(z.abs().max()) < 4.5  # six normal deviates for each of six densities: 1 in 4,000 by chance


def test_eight_gaussians_are_a_mixture_of_eight() -> None:
    angle = torch.arange(8, dtype=torch.float64) * math.pi / 4
    centres = math.sqrt(8) * torch.stack([angle.cos(), angle.sin()], 1)
    part = torch.distributions.Independent(torch.distributions.Normal(centres, math.sqrt(1 / 8)), 1)
    choice = torch.distributions.Categorical(torch.ones(8, dtype=torch.float64))
    mixture = torch.distributions.MixtureSameFamily(choice, part)
    x = drawn(Density("eight_gaussians"), 500).double()
    torch.testing.assert_close(Density("eight_gaussians").log_density(x), mixture.log_prob(x), rtol=0, atol=1e-12)


def test_circles_with_noise_have_a_bessel_function() -> None:
    """int N(x; R e^{i phi}, s^2) d phi / 2 pi = exp(-(r - R)^2 / 2 s^2) I0e(r R / s^2) / (2 pi s^2)."""
    x, s = drawn(Density("circles"), 500).double(), 0.24
    r = x.norm(dim=1)
    parts = [(-((r - R) ** 2) / (2 * s**2)).exp() * torch.special.i0e(r * R / s**2) for R in (1.5, 3.0)]
    expected = (sum(parts) / 2 / (2 * math.pi * s**2)).log()
    torch.testing.assert_close(Density("circles").log_density(x), expected, rtol=0, atol=1e-10)


def test_the_checkerboard_is_uniform_on_an_area_of_32() -> None:
    found = Density("checkerboard").log_density(drawn(Density("checkerboard")))
    assert found.unique().tolist() == [-math.log(32)]


def test_moons_are_those_of_scikit_learn() -> None:
    theirs = torch.from_numpy(make_moons(20_000, noise=0.1, random_state=0)[0])
    (ours,) = Moons(test_size=20_000).raw("test")
    for power in (1, 2):
        a, b = theirs**power, ours.double() ** power
        # 20,000 on either side; theirs are equidistant along the moons, which varies less
        error = torch.sqrt((a.var(0) + b.var(0)) / 20_000)
        assert float(((a.mean(0) - b.mean(0)) / error).abs().max()) < 4


def test_moons_lead_from_raw_values_to_their_batches() -> None:
    data = Moons()
    (batch,) = next(iter(data.test_dataloader()))
    torch.testing.assert_close(preprocess(data.raw("test")[0], data.preprocessing)[: len(batch)], batch)
    raw = data.raw("test")[0].double()
    doubled = data.log_density((raw - 0.375) / 0.5)
    torch.testing.assert_close(doubled, data.curves.log_density(raw) - 2 * math.log(2), rtol=0, atol=1e-12)


def test_a_standard_normal() -> None:
    x = drawn(Gaussian(dim=3), 100)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(x.double()).sum(1)
    torch.testing.assert_close(Gaussian(dim=3).log_density(x), expected)


def test_batches_are_fresh_and_belong_to_the_seed() -> None:
    def first(**arguments: Any) -> Tensor:
        return next(iter(Density("rings", **arguments).train_dataloader()))[0]

    batches = [x for (x,) in Density("rings", steps_per_epoch=5).train_dataloader()]
    assert len(torch.cat(batches).unique(dim=0)) == 5 * 256
    assert torch.equal(first(), first())
    assert not torch.equal(first(), first(seed=1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Density("moon"), "name must be one of 'circles', 'rings', .*, got 'moon'"),
        (lambda: Density(steps_per_epoch=0), "steps_per_epoch must be at least 1, got 0"),
        (lambda: Moons(noise=0.0), "noise must be positive, got 0.0"),
        (lambda: Moons(batch_size=0), "batch_size must be at least 1, got 0"),
        (lambda: Gaussian(val_size=-1), "val_size must not be negative, got -1"),
        (lambda: Gaussian(dim=0), "dim must be at least 1, got 0"),
    ],
)
def test_bad_values_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()

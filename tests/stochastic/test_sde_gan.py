"""Paths from an adversary: bounds that hold exactly, gradients, invariances, moments."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
import torchsde
from torch import Tensor, nn

from datamodules import ForcedOrnsteinUhlenbeck
from tests.stochastic.adversary import N, T, batch, data, made
from zoo._interpolation import Path
from zoo.stochastic.sde_gan import Generator, LipSwish


def test_a_start_is_wider_and_fields_are_calmer_than_what_is_drawn() -> None:
    torch.manual_seed(0)
    drawn, model = Generator(3, 2, 4, 5, 1, T).double(), made()
    for part, factor in (("start", 3.0), ("fields", 0.5), ("readout", 1.0)):
        for ours in (model.generator, model.average):
            for a, b in zip(getattr(ours, part).parameters(), getattr(drawn, part).parameters(), strict=True):
                torch.testing.assert_close(a.detach(), factor * b.detach())


class Ends(nn.Module):
    """Scores a path by its last value."""

    def forward(self, y: Tensor) -> Tensor:
        return y[:, -1, 0]


def test_the_loss_is_what_the_critic_gives_to_generated_paths_less_what_to_the_datas() -> None:
    """Of paths of the mean of the weights, in the units of the data; both are divided by the scale for the critic."""
    model, (paths, *noise) = made(scale=0.5), batch()
    model.critic = Ends()
    model.average.readout.bias.data += 3.0
    y = model(*noise)
    torch.testing.assert_close(y, 0.5 * model.average(*noise))
    expected = (y[:, -1].mean() - paths[:, -1].mean()) / 0.5
    torch.testing.assert_close(model.step((paths, *noise))["loss"], expected)


def test_the_gradient_is_that_of_finite_differences() -> None:
    model, (paths, *noise) = made(), batch()
    parts = list(model.generator.parameters()) + list(model.critic.parameters())
    gradients = torch.autograd.grad(model.gap(paths, model.generator(*noise)), parts)
    draw, h = torch.Generator().manual_seed(2), 1e-5
    ways = [torch.randn(p.shape, generator=draw, dtype=p.dtype) for p in parts]
    values = []
    with torch.no_grad():
        for sign in (1, -2):  # to +h, then to -h
            for p, way in zip(parts, ways, strict=True):
                p.add_(sign * h * way)
            values.append(float(model.gap(paths, model.generator(*noise))))
    expected = sum(float((g * way).sum()) for g, way in zip(gradients, ways, strict=True))
    assert (values[0] - values[1]) / (2 * h) == pytest.approx(expected, rel=1e-6)  # h^2, and rounding over h


def test_paths_are_those_of_torchsde_on_the_same_motion() -> None:
    """Its Heun and ours are one method: with the same increments the same numbers."""
    model, (_, start, normals) = made(), batch()
    generator = model.generator

    class Equation(torch.nn.Module):
        sde_type, noise_type = "stratonovich", "general"

        def f(self, t: Tensor, x: Tensor) -> Tensor:
            return generator.both(t, x)[0]

        def g(self, t: Tensor, x: Tensor) -> Tensor:
            return generator.both(t, x)[1]

    class Motion:
        shape, dtype, device = normals[:, 0].shape, normals.dtype, normals.device
        levy_area_approximation = "none"

        def __call__(self, ta: Any, tb: Any, **_: Any) -> Tensor:
            return normals[:, int(ta)]

    with torch.no_grad():
        times = torch.arange(T, dtype=torch.float64)
        x = torchsde.sdeint(Equation(), generator.start(start), times, bm=Motion(), method="heun", dt=1.0)
        expected = generator.readout(x).movedim(0, 1)
        torch.testing.assert_close(model(start, normals), expected, rtol=1e-10, atol=1e-10)


def test_a_path_means_the_same_with_points_inserted_on_its_lines() -> None:
    """The midpoint rule is of order 2: with a quarter of the step, a sixteenth of the difference remains."""
    model, (paths, *_) = made(), batch()
    critic = model.critic

    def judged(parts: int) -> Tensor:
        u = torch.arange(parts, dtype=torch.float64) / parts
        y, t = critic.gain * paths, torch.arange(T, dtype=torch.float64).expand(N, -1)[..., None]
        points = torch.cat([t, y], -1)
        between = points[:, :-1, None] + points.diff(dim=1)[:, :, None] * u[:, None]
        fine = torch.cat([between.flatten(1, 2), points[:, -1:]], 1).movedim(1, 0)
        path = Path((fine[:-1], fine.diff(dim=0)))
        return critic.readout(critic.along(path))[:, 0].detach()

    torch.testing.assert_close(judged(1), critic(paths).detach(), rtol=1e-10, atol=1e-10)
    errors = [float((judged(parts) - judged(64)).norm()) for parts in (4, 8, 16)]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(2, abs=0.4)  # the limit itself is one of 64


def test_the_critic_sees_when_a_path_moves_and_not_only_where() -> None:
    """Two ways from one value to another at different times: without time in the path they would be one."""
    model = made()
    early, late = torch.zeros(1, T, 1).double(), torch.zeros(1, T, 1).double()
    early[:, 2:], late[:, 6:] = 1.0, 1.0
    assert abs(float((model.critic(early) - model.critic(late)).detach())) > 1e-4


def test_no_field_is_faster_than_its_bound() -> None:
    model, (_, start, _) = made(), batch()
    for parameter in model.generator.parameters():
        parameter.data *= 50
    f, g = model.generator.both(3.0, model.generator.start(start))
    assert float(f.detach().abs().max()) <= 1
    assert float(g.detach().abs().max()) <= 1


def test_lip_swish_has_slope_one_at_most() -> None:
    x = torch.linspace(-20, 20, 100_001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(LipSwish()(x).sum(), x)
    assert 0.999 < float(slope.max()) <= 1
    assert float(slope.min()) >= -1


def test_moments_of_the_process() -> None:
    source = ForcedOrnsteinUhlenbeck(test_size=40_000)
    (values, _, normals), (m, v) = source.load("test"), (source.mean(), source.variance())
    y, count = values[..., 0].double(), len(values)
    assert normals.shape == (count, 63, 3)
    assert float(m[63]) == pytest.approx(10.60, abs=5e-3)  # 12.6 - 2 (1 - e^-6.3)
    assert float(y[:, 0].abs().max()) <= 1
    # five deviations of a mean, and of a variance, of 40,000
    assert bool(((y.mean(0) - m).abs() <= 5 * (v / count).sqrt()).all())
    assert bool(((y.var(0) - v).abs() <= 5 * v * math.sqrt(2 / count)).all())
    for s, t in ((5, 9), (20, 40), (40, 63)):
        covariance = float(((y[:, s] - m[s]) * (y[:, t] - m[t])).mean())
        expected = math.exp(-0.1 * (t - s)) * float(v[s])
        assert covariance == pytest.approx(expected, abs=5 * math.sqrt(2 * float(v[s] * v[t]) / count))


def test_moments_are_those_of_the_equation() -> None:
    """By many Euler steps of m' = .02 t - .1 m and v' = -.2 v + (.0125 t)^2."""
    source, parts = ForcedOrnsteinUhlenbeck(), 4000
    m, v = 0.0, 1 / 3
    for k in range(63 * parts):
        t = k / parts
        m, v = m + (0.02 * t - 0.1 * m) / parts, v + (-0.2 * v + (0.0125 * t) ** 2) / parts
    assert float(source.mean()[63]) == pytest.approx(m, abs=1e-3)
    assert float(source.variance()[63]) == pytest.approx(v, rel=1e-3)


def test_noise_of_a_training_batch_is_drawn_anew_and_that_of_held_out_paths_stays() -> None:
    source = data()
    first, again = next(iter(source.train_dataloader())), source.load("train")
    assert not any(torch.equal(first[1][0], row) for row in again[1])
    assert all(torch.equal(a, b) for a, b in zip(source.load("test"), source.load("test"), strict=True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: made(length=1), "length must be at least 2, got 1"),
        (lambda: made(width=0), "width must be at least 1, got 0"),
        (lambda: made(scale=0.0), "scale must be positive, got 0.0"),
        (lambda: made(gain=-1.0), "gain must be positive, got -1.0"),
        (lambda: made(averaged=1.5), "averaged must be a share of the steps, at most 1, got 1.5"),
        (lambda: made(weight_decay=-0.1), "weight_decay must not be negative, got -0.1"),
        (lambda: made(optimizer="adam"), "optimizer must be one of 'optimistic', 'adadelta', got 'adam'"),
        (lambda: made()(torch.zeros(2, 9), torch.zeros(2, 3, 3)), r"expected start of shape .*got \(2, 9\)"),
        (lambda: data(length=1), "length must be at least 2, got 1"),
        (lambda: data(noise_channels=0), "noise_channels must be at least 1, got 0"),
    ],
)
def test_bad_values_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()

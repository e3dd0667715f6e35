"""Paths from an adversary: bounds that hold exactly, gradients, invariances, moments, and tests of two samples."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torchsde
from scipy.stats import ks_2samp, wasserstein_distance
from torch import Tensor

from benchmarks.observables.stochastic.path_laws import PathLaws, distances
from benchmarks.observables.stochastic.two_samples import autocorrelation, classified, kolmogorov_smirnov, transport
from datamodules import ForcedOrnsteinUhlenbeck, OrnsteinUhlenbeck
from zoo._interpolation import Path
from zoo.stochastic import SDEGAN, NeuralSDE
from zoo.stochastic._optimistic import OptimisticAdam

N, T = 6, 9
Batch = tuple[Tensor, ...]


def made(**hyperparameters: Any) -> SDEGAN:
    torch.manual_seed(0)
    small = {"start_features": 3, "noise_channels": 2, "hidden_features": 4, "width": 5}
    return SDEGAN(**({"channels": 1, "length": T, **small} | hyperparameters)).double()


def batch(size: int = N) -> Batch:
    draw = torch.Generator().manual_seed(1)
    shapes = ((size, T, 1), (size, 3), (size, T - 1, 2))
    paths, start, normals = (torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes)
    return paths.cumsum(1), start, normals


def data(**sizes: int) -> ForcedOrnsteinUhlenbeck:
    given = {"length": T, "start_features": 3, "noise_channels": 2, "train_size": 64, "val_size": 64, "test_size": 64}
    return ForcedOrnsteinUhlenbeck(**(given | {"batch_size": 16} | sizes))


class Weights(pl.Callback):
    """Keeps the generator's weights after every step, and looks at the critic's bounds."""

    def __init__(self) -> None:
        self.kept: list[list[Tensor]] = []
        self.steepest: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        self.kept.append([parameter.detach().clone() for parameter in pl_module.generator.parameters()])
        linear = [part for part in pl_module.critic.modules() if isinstance(part, torch.nn.Linear)]
        self.steepest.append(max(float(part.weight.detach().abs().max()) * part.out_features for part in linear))


def trained(**hyperparameters: Any) -> tuple[SDEGAN, Weights]:
    model, weights = made(**hyperparameters).float(), Weights()
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=2, limit_val_batches=0, callbacks=[weights], enable_checkpointing=False, **quiet
    )
    trainer.fit(model, datamodule=data())
    return model, weights


def test_every_weight_of_the_critic_is_within_its_bound_after_every_step() -> None:
    _, weights = trained(critic_lr=0.3)
    assert len(weights.steepest) == 8
    # a bound 1/n is rounded, and so is its product with n
    assert max(weights.steepest) == pytest.approx(1.0, abs=1e-6)
    _, free = trained(critic_lr=0.3, clip=False)
    assert max(free.steepest) > 2


@pytest.mark.parametrize("averaged", [0.5, 1.0, 0.0])
def test_the_average_is_the_mean_of_the_weights_after_the_last_steps(averaged: float) -> None:
    model, weights = trained(averaged=averaged)
    last = weights.kept[8 - max(1, int(8 * averaged)) :]
    for mean, own in zip(model.average.parameters(), zip(*last, strict=True), strict=True):
        torch.testing.assert_close(mean, torch.stack(own).mean(0), rtol=1e-5, atol=1e-6)


def test_the_generator_climbs_what_the_critic_descends() -> None:
    """The gradient of the trained loss is that of the gap for the critic, and its negative for the generator."""
    model, (paths, *noise) = made(), batch()
    y = model.generator(*noise)
    turned = model.gap(paths, 2 * y.detach() - y)
    plain = model.gap(paths, model.generator(*noise))
    assert turned.item() == pytest.approx(plain.item(), rel=1e-12)
    weights = [*model.critic.parameters(), *model.generator.parameters()]
    signs = [1] * len(list(model.critic.parameters())) + [-1] * len(list(model.generator.parameters()))
    for a, b, sign in zip(
        torch.autograd.grad(turned, weights), torch.autograd.grad(plain, weights), signs, strict=True
    ):
        assert b.any()
        torch.testing.assert_close(a, sign * b, rtol=1e-9, atol=1e-12)


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
    from zoo.stochastic.sde_gan import LipSwish

    x = torch.linspace(-20, 20, 100_001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(LipSwish()(x).sum(), x)
    assert 0.999 < float(slope.max()) <= 1
    assert float(slope.min()) >= -1


def test_optimistic_steps_reach_a_saddle_from_which_plain_ones_run_away() -> None:
    """The saddle of x y is at 0, and the steps of either player are perpendicular to the way there."""

    def distance(beta_1: float | None) -> float:
        x, y = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.3, 0.2))
        steps: Any = (
            OptimisticAdam([x, y], lr=1e-2, beta_2=0.999)
            if beta_1 is None
            else torch.optim.Adam([x, y], lr=1e-2, betas=(beta_1, 0.999))
        )
        for _ in range(3000):
            gx, gy = y.detach().clone(), -x.detach().clone()
            x.grad, y.grad = gx, gy
            steps.step()
        return math.hypot(float(x.detach()), float(y.detach()))

    assert distance(None) < 0.1 * math.hypot(0.3, 0.2) < distance(0.0)


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


def test_only_generators_of_a_process_that_is_known_are_compared() -> None:
    assert PathLaws().refusal(made(), data()) == ""
    assert PathLaws().refusal(NeuralSDE(2), data()) == "NeuralSDE generates no paths from noise"
    assert "does not know the moments" in PathLaws().refusal(made(), OrnsteinUhlenbeck())


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
        (lambda: data(length=1), "length must be at least 2, got 1"),
        (lambda: data(noise_channels=0), "noise_channels must be at least 1, got 0"),
    ],
)
def test_bad_values_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()

"""Neural SDEs that a series drives: a plain loop, causality, invariances, and the process they are tried on."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules import OrnsteinUhlenbeck, Spirals
from zoo._interpolation import interpolate
from zoo.stochastic import GeometricSDE, LangevinSDE, LinearNoiseSDE, NeuralSDE
from zoo.stochastic._controlled import VARIANTS, ControlledSDE

MODELS = [LangevinSDE, LinearNoiseSDE, GeometricSDE, NeuralSDE]
every_model = pytest.mark.parametrize("cls", MODELS)
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def model(cls: type[ControlledSDE], **arguments: Any) -> ControlledSDE:
    torch.manual_seed(0)
    return cls(**({"in_channels": 2, "hidden_channels": 5, "width": 7} | arguments)).double()


def series(size: int = 4, length: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    """Irregular spirals with gaps, at times between 0 and 1."""
    values, mask, times, _ = Spirals(length, irregular=True, missing=0.3, test_size=size).load("test")
    return values.double(), mask, times.double() / (4 * math.pi)


def coefficients(module: Any, t: Tensor, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """f and g as the docstrings' equations have them, by the model's layers one after another."""
    name, clips = type(module).__name__, module.clips
    clock = torch.cat([t.sin(), t.cos()], -1) if clips else t
    inner = module.state(z if name == "LangevinSDE" else torch.cat([clock, z], -1))
    if name != "NeuralSDE":
        inner = module.joined(torch.cat([inner, module.series(x)], -1))
    gamma = module.rate(inner)
    sigma = module.noise(torch.cat([clock, z], -1) if name == "NeuralSDE" else clock)
    sigma = sigma.relu() if clips else sigma
    if name in ("LinearNoiseSDE", "GeometricSDE"):
        sigma = sigma * z
    if name == "GeometricSDE":
        gamma = gamma * (z.tanh() if clips else z)
    return (gamma.tanh(), (module.theta.sigmoid() * sigma).tanh()) if clips else (gamma, sigma)


@pytest.mark.parametrize("substeps", [1, 2])
@every_model
@every_variant
def test_states_are_those_of_a_plain_loop_in_time(cls: type[ControlledSDE], variant: str, substeps: int) -> None:
    module, (values, mask, times) = model(cls, variant=variant, substeps=substeps, horizon=3.0), series()
    torch.manual_seed(1)
    states = module.states(values, mask, times)
    torch.manual_seed(1)
    path = interpolate(values, mask, times / 3.0, "hermite")
    z = module.z0(path.value(0))
    for k in range(len(states) - 1):
        torch.testing.assert_close(states[k], z, rtol=1e-11, atol=1e-11)
        for part in range(substeps):
            dt = (times[:, k + 1] - times[:, k])[:, None] / (3.0 * substeps)
            x = path.value(k + part / substeps)
            f, g = coefficients(module, x[:, :1], z, x)
            z = z + f * dt + g * dt.sqrt() * torch.randn(z.shape, dtype=z.dtype)


@every_model
def test_a_prediction_can_be_repeated_and_depends_on_its_series_alone(cls: type[ControlledSDE]) -> None:
    module, given = model(cls, num_classes=3, substeps=2), series()
    assert not torch.equal(module(*given), module(*given))
    module.eval()
    expected = module(*given)
    assert torch.equal(module(*given), expected)
    some = torch.tensor([2, 0])
    torch.testing.assert_close(module(*(part[some] for part in given)), expected[some], rtol=1e-12, atol=1e-12)


@every_model
def test_a_prediction_depends_neither_on_what_a_series_is_filled_up_with_nor_on_the_precision(
    cls: type[ControlledSDE],
) -> None:
    module, (values, mask, times) = model(cls, num_classes=3).eval(), series()
    expected = module(values, mask, times)
    for more in (1, 4):
        longer = (torch.cat([a, torch.zeros_like(a[:, :more])], 1) for a in (values, mask))
        later = times[:, -1:] + torch.arange(1, more + 1)
        torch.testing.assert_close(module(*longer, torch.cat([times, later], 1)), expected, rtol=1e-12, atol=1e-12)
    # of 1e-7 a step, over 8 of them and three layers
    single = module.float()(values.float(), mask, times.float())
    torch.testing.assert_close(single.double(), expected, rtol=1e-5, atol=1e-5)


@every_model
def test_a_told_series_is_told_at_its_times_along_every_path(cls: type[ControlledSDE]) -> None:
    module, (values, mask, times) = model(cls, interpolation="rectilinear").eval(), series()
    states, told = module.states(values, mask, times), module(values, mask, times)
    assert len(states) == 2 * values.shape[1] - 1
    for k in range(values.shape[1]):
        torch.testing.assert_close(told[:, k], module.readout(states[2 * k]), rtol=1e-12, atol=1e-12)


def test_the_loss_of_a_told_series_is_of_what_was_observed() -> None:
    module, (values, mask, times) = model(LangevinSDE).eval(), series()
    expected = (module(values, mask, times) - values)[mask].square().mean()
    found = module.step((torch.where(mask, values, torch.nan), mask, times))["loss"]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert not module.step((values, torch.zeros_like(mask), times))["loss"].detach()


def test_the_noise_of_evaluation_is_brownian() -> None:
    module, size = model(LangevinSDE, substeps=4).eval(), 20_000
    increments = module._same_noise(6, torch.zeros(2, size, dtype=torch.float64))
    assert torch.equal(increments[:, 0], increments[:, 1])
    mean, variance = increments[:, 0].mean(1), increments[:, 0].var(1)
    # five deviations of the mean and the variance of 20,000 normal numbers of variance 1/4
    assert bool((mean.abs() <= 5 * 0.5 / math.sqrt(size)).all())
    assert bool(((variance - 0.25).abs() <= 5 * 0.25 * math.sqrt(2 / size)).all())
    assert float(torch.corrcoef(increments[:, 0]).fill_diagonal_(0).abs().max()) <= 5 / math.sqrt(size)


@every_model
def test_a_state_depends_on_the_series_up_to_the_knot_after_it(cls: type[ControlledSDE]) -> None:
    module, (values, mask, times) = model(cls), series()
    mask = torch.ones_like(mask)
    changed = values.clone()
    changed[:, 6:] += 1.0
    torch.manual_seed(2)
    before = module.states(values, mask, times)
    torch.manual_seed(2)
    after = module.states(changed, mask, times)
    assert torch.equal(before[:6], after[:6])
    assert torch.equal(before, after) == (cls is NeuralSDE)  # the naive one sees nothing but the start


@every_model
def test_what_was_not_observed_has_no_influence(cls: type[ControlledSDE]) -> None:
    module, (values, mask, times) = model(cls, num_classes=3), series()
    torch.manual_seed(2)
    expected = module(values, mask, times)
    torch.manual_seed(2)
    assert torch.equal(module(torch.where(mask, values, 1e3), mask, times), expected)


@every_model
def test_an_end_that_was_not_observed_leaves_the_state_alone(cls: type[ControlledSDE]) -> None:
    module, (values, mask, times) = model(cls), series()
    mask[:, 5:] = False
    states = module.states(values, mask, times)
    assert torch.equal(states[4:], states[4].expand(5, -1, -1))


@every_variant
def test_zero_is_absorbing_for_geometric_noise(variant: str) -> None:
    module, (values, mask, times) = model(GeometricSDE, variant=variant), series()
    with torch.no_grad():
        module.start.weight.zero_()
        module.start.bias.fill_(0.0 if variant == "benchmark" else -1e9)  # softplus of which is 0
    assert not module.states(values, mask, times).any()


def test_a_geometric_state_starts_positive_and_small_steps_keep_it_so() -> None:
    module, (values, mask, times) = model(GeometricSDE, substeps=20), series(64)
    # g dW is beyond z for |sigma| sqrt(dt) |xi| > 1 alone: at these 160 steps that takes 14 deviations or more
    assert bool((module.states(values, mask, times) > 0).all())


@pytest.mark.parametrize("substeps", [1, 4])
def test_the_variance_of_pure_noise_is_the_integral_of_its_square(substeps: int) -> None:
    module = model(LangevinSDE, substeps=substeps, in_channels=1)
    for name, parameter in module.named_parameters():
        if not name.startswith("noise.2"):
            torch.nn.init.zeros_(parameter)
    sigma = dict(module.named_parameters())["noise.2.bias"]  # all that is left of the noise's network
    size = 20_000
    times = torch.tensor([0.0, 0.1, 0.7, 1.0], dtype=torch.float64).expand(size, -1)
    values = torch.zeros(size, 4, 1, dtype=torch.float64)
    with torch.no_grad():
        states = module.states(values, torch.ones_like(values, dtype=torch.bool), times)
    expected = sigma.detach().square() * times[0][:, None]
    # five deviations of the variance of 20,000 normal numbers
    assert bool(((states.var(1) - expected).abs() <= 5 * expected * math.sqrt(2 / size)).all())


@every_variant
@every_model
def test_bounds_of_the_benchmarks_variant(cls: type[ControlledSDE], variant: str) -> None:
    module, (values, mask, times) = model(cls, variant=variant), series()
    for parameter in module.parameters():
        parameter.data *= 30
    torch.manual_seed(3)
    states = module.states(values, mask, times)
    torch.manual_seed(3)
    steps = (states[1:] - states[:-1]).abs()
    pace = times.diff(dim=1).T[..., None]
    xi = torch.stack([torch.randn(4, 5, dtype=torch.float64) for _ in range(8)])
    within = steps <= pace + pace.sqrt() * xi.abs() + 1e-12  # |f| < 1 and |g| < 1
    assert bool(within.all()) == (variant == "benchmark")


def test_moments_of_the_process() -> None:
    values, mask, times = OrnsteinUhlenbeck(test_size=20_000).load("test")
    assert bool(mask.all())
    assert float(times[0, -1]) == 1.0
    k = torch.arange(20)
    mean, variance = 0.9**k, 0.005 * (1 - 0.81**k) / 0.19
    assert bool(((values.mean(0)[:, 0] - mean).abs() <= 5 * (variance / 20_000).sqrt() + 1e-6).all())
    assert bool(((values.var(0)[:, 0] - variance).abs() <= 5 * variance * math.sqrt(2 / 20_000) + 1e-9).all())
    # the least error of what sees the start alone
    assert float(variance.mean()) == pytest.approx(0.0195, abs=5e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "paper"}, "variant must be one of 'theory', 'benchmark', got 'paper'"),
        ({"interpolation": "spline"}, "interpolation must be one of"),
        ({"substeps": 0}, "substeps must be at least 1"),
        ({"horizon": 0.0}, "horizon must be positive"),
        ({"hidden_channels": 0}, "hidden_channels must be at least 1"),
        ({"lr": -1.0}, "lr must be positive"),
        ({"num_classes": 1}, "num_classes must be at least 2"),
    ],
)
def test_bad_models(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model(LangevinSDE, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 1}, "length must be at least 2"),
        ({"horizon": 0.0}, "horizon must be positive"),
        ({"sigma": -0.1}, "sigma must be finite and not negative"),
        ({"theta": math.nan}, "theta must be finite and not negative, got nan"),
        ({"val_size": 0}, "val_size must be at least 1"),
    ],
)
def test_bad_processes(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OrnsteinUhlenbeck(**arguments)

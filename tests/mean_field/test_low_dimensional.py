"""Targets of a few coordinates and the reduced dynamics of angles and masses (Hajjar and Chizat, 2022)."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.observables.mean_field.alignment import Alignment, Profile
from datamodules import AngularSamples, LowDimensionalTarget, OddTarget
from zoo.mean_field import AngularDynamics, TwoLayerReLU
from zoo.mean_field.infinite_width import aligned_mass

DIM, TARGET = 7, 3
Triple = tuple[Tensor, Tensor, Tensor]


def particles(width: int = 32, lr: float = 1e-2, dim: int = DIM, target_dim: int = TARGET) -> AngularDynamics:
    torch.manual_seed(0)
    return AngularDynamics(dim, target_dim, width, lr).double()


def samples(size: int, dim: int = DIM, target_dim: int = TARGET) -> Triple:
    data = AngularSamples(dim, target_dim)
    z, other, target = (t.double() for t in data.sample(size, torch.Generator().manual_seed(0)))
    return z, other, target


def descend(model: Any, batch: tuple[Tensor, ...], steps: int = 1) -> None:
    optimizer = model.configure_optimizers()
    for _ in range(steps):
        optimizer.zero_grad()
        model.step(batch)["loss"].backward()
        optimizer.step()


def assert_moments(values: Tensor, mean: float) -> None:
    """The mean of independent values is within five standard errors of what it should be."""
    assert float((values.mean() - mean).abs()) < 5 * float(values.std()) / math.sqrt(len(values))


def test_the_target_is_the_norm_of_the_first_coordinates() -> None:
    x, y = LowDimensionalTarget(DIM, TARGET).sample(50_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(y.square(), x[:, :TARGET].square().sum(1))
    assert_moments(y.square(), TARGET)
    assert_moments(x[:, TARGET:].square().sum(1), DIM - TARGET)
    assert_moments(y * x[:, TARGET:].norm(dim=1).sub(x[:, TARGET:].norm(dim=1).mean()), 0.0)


@pytest.mark.parametrize(("dim", "target_dim"), [(DIM, TARGET), (2, 1), (30, 5)])
def test_angular_samples_have_the_laws_of_a_uniform_point(dim: int, target_dim: int) -> None:
    """Its moments up to the fourth; for the two of a pair, those that an r and an s of its own give."""
    z, other, target = samples(50_000, dim, target_dim)
    across, fourth = dim - target_dim, dim * (dim + 2)
    assert_moments(target**2, target_dim / dim)
    assert_moments(target**4, target_dim * (target_dim + 2) / fourth)
    for points in (z, other):
        for axis, mixed in ((0, target_dim + 2), (1, target_dim)):
            assert_moments(points[:, axis], 0.0)
            assert_moments(points[:, axis] ** 2, 1 / dim)
            assert_moments(points[:, axis] ** 4, 3 / fourth)
            assert_moments(points[:, axis] ** 2 * target**2, mixed / fourth)
    for axis, own in ((0, target_dim), (1, across)):
        assert_moments(z[:, axis] * other[:, axis], 0.0)
        assert_moments((z[:, axis] * other[:, axis]) ** 2, (own + 2) / (own * fourth))


@pytest.mark.parametrize("target_dim", [1, 2, 3, 5, 10])
def test_the_aligned_mass_represents_the_target(target_dim: int) -> None:
    """All neurons in H with that mass: E[(y - psi(z))(y - psi(z'))] = E[(y - f)^2] = 0."""
    model, batch = particles(width=4, dim=20, target_dim=target_dim), samples(50_000, 20, target_dim)
    with torch.no_grad():
        model.theta.zero_()
        model.sign.fill_(1)
        model.log_mass.fill_(math.log(aligned_mass(target_dim)))
        assert_moments((batch[2] - model(batch[0])) * (batch[2] - model(batch[1])), 0.0)


def test_the_aligned_mass_has_its_closed_forms() -> None:
    for target_dim, mass in ((1, 2.0), (2, math.pi), (3, 4.0), (5, 16 / 3)):
        assert aligned_mass(target_dim) == pytest.approx(mass, rel=1e-12)


def test_particles_start_with_the_angles_of_uniform_neurons() -> None:
    model = particles(width=50_000)
    squares = model.theta.detach().cos().square()
    assert_moments(squares, TARGET / DIM)
    assert_moments(squares**2, TARGET * (TARGET + 2) / (DIM * (DIM + 2)))
    assert set(model.masses().tolist()) == {-1.0, 1.0}


def test_the_loss_of_the_zero_function_is_that_of_the_network() -> None:
    """(d / 2) E[cos^2] = d_H / 2 = E[y^2] / 2 for x ~ N(0, I_d)."""
    model, batch = particles(width=2), samples(50_000)
    with torch.no_grad():
        model.theta[:], model.sign[:] = 1.0, torch.tensor([1.0, -1.0])
    assert float(model.step(batch)["loss"].detach()) == pytest.approx(float(DIM / 2 * batch[2].square().mean()))
    assert_moments(DIM / 2 * batch[2].square(), TARGET / 2)


def test_a_step_is_the_stated_one() -> None:
    """log|c| moves by 2 lr sign(c) G(theta), theta by lr sign(c) G'(theta), written out with sines and cosines."""
    model, batch = particles(), samples(40)
    with torch.no_grad():
        model.log_mass += 0.3 * torch.randn_like(model.log_mass)
    theta, log_mass = model.theta.detach().clone(), model.log_mass.detach().clone()
    inner = [z[:, :1] * theta.cos() + z[:, 1:] * theta.sin() for z in batch[:2]]
    slopes = [(i > 0) * (z[:, 1:] * theta.cos() - z[:, :1] * theta.sin()) for i, z in zip(inner, batch, strict=False)]
    residuals = [batch[2] - i.clamp(min=0) @ model.masses().detach() / 32 for i in inner]
    pairs = list(zip(reversed(residuals), inner, slopes, strict=True))
    height = sum(DIM / 2 * (r[:, None] * i.clamp(min=0)).mean(0) for r, i, _ in pairs)
    slope = sum(DIM / 2 * (r[:, None] * s).mean(0) for r, _, s in pairs)
    descend(model, batch)
    # float64, sums of 40 products: rounding of about 1e-15
    torch.testing.assert_close(model.log_mass, log_mass + 2 * 1e-2 * model.sign * height, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(model.theta, theta + 1e-2 * model.sign * slope, rtol=1e-12, atol=1e-14)


def test_a_step_descends_the_loss_in_the_geometry_of_the_cone() -> None:
    """dL/dt = -(1/m) sum_j |c_j| (theta_j'^2 + (d log|c_j| / dt)^2 / 2), of the very loss that is logged."""
    model, batch, lr = particles(lr=1e-6), samples(40), 1e-6
    before = model.step(batch)["loss"].detach()
    theta, log_mass = model.theta.detach().clone(), model.log_mass.detach().clone()
    weight = model.masses().abs().detach() / 32
    descend(model, batch)
    moved = weight * ((model.theta - theta) ** 2 + (model.log_mass - log_mass) ** 2 / 2) / lr
    after = model.step(batch)["loss"].detach()
    # second-order terms are of relative size lr times a rate of about 1, rounding of 1e-16 / lr
    assert float(before - after) == pytest.approx(float(moved.sum().detach()), rel=1e-4)


def closed(points: Tensor) -> Tensor:
    """The four reflections of points in two dimensions, one after the other."""
    return torch.cat(
        [points * torch.tensor(signs, dtype=points.dtype) for signs in itertools.product((1, -1), (1, -1))]
    )


def test_it_is_the_limit_of_the_network_where_both_can_be_computed() -> None:
    """In d = 2 with d_H = 1 the symmetries are four reflections: networks closed under them follow the particles.

    Both are first-order schemes for one flow: what is between them at a fixed time halves with the step.
    """
    phi = torch.linspace(0.1, 1.5, 15, dtype=torch.float64)
    point = torch.stack([phi.cos(), phi.sin()], 1)
    x, orbit = math.sqrt(2) * closed(point), closed(point).view(4, 15, 2)
    pairs = [
        each.expand(4, 4, 15, 2).reshape(-1, 2) for each in (orbit, orbit[:, None])
    ]  # every r, s with every r', s'
    apart = []
    for halvings in (0, 1):
        model = particles(width=8, lr=0.02 / 2**halvings, dim=2, target_dim=1)
        torch.manual_seed(0)
        network = TwoLayerReLU(2, width=32, lr=0.02 / 2**halvings).double()
        with torch.no_grad():
            network.w.copy_(closed(torch.stack([model.theta.cos(), model.theta.sin()], 1)))
            network.a.copy_(model.sign.repeat(4))
        batch = *pairs, phi.cos().repeat(16)
        torch.testing.assert_close(model.step(batch)["loss"], network.step((x, x[:, 0].abs()))["loss"])
        descend(model, batch, 50 * 2**halvings)
        descend(network, (x, x[:, 0].abs()), 50 * 2**halvings)
        apart.append(float((network.masses()[:8] - model.masses()).abs().max().detach()))
        assert float((model.masses().abs() - 1).abs().max().detach()) > 0.2, "it has moved"
    assert apart[1] / apart[0] == pytest.approx(0.5, abs=0.05)


def seen(callback: Any, model: Any, data: Any, steps: int = 0) -> None:
    trainer: Any = SimpleNamespace(datamodule=data, global_step=0, accumulate_grad_batches=1, is_last_batch=False)
    callback.on_train_start(trainer, model)
    for step in range(1, steps + 1):
        trainer.global_step = step
        callback.on_train_batch_end(trainer, model, None, None, step - 1)


def test_masses_and_angles_are_those_of_the_neurons() -> None:
    """Two neurons of mass 2 at angles 0 and pi/3, one of mass -1 at pi/2."""
    network = TwoLayerReLU(2, width=3)
    with torch.no_grad():
        network.w.copy_(torch.tensor([[-1.0, 0.0], [1.0, -math.sqrt(3)], [0.0, 1.0]]))
        network.a.copy_(torch.tensor([2.0, 1.0, -1.0]))
    seen(Alignment(), network, LowDimensionalTarget(2, 1))
    found = {name: float(values[0]) for name, values in network.recorded.items()}
    assert found == pytest.approx(
        {"mass_plus": 4 / 3, "mass_minus": 1 / 3, "angle_plus": math.pi / 6, "angle_minus": math.pi / 2}
    )


def test_a_neuron_and_its_particle_have_one_angle() -> None:
    model = particles(width=4, dim=2, target_dim=1)
    network = TwoLayerReLU(2, width=4).double()
    with torch.no_grad():
        model.theta.copy_(torch.tensor([-0.2, 0.3, 1.7, 3.5]))  # noise may push a particle out of [0, pi/2]
        network.w.copy_(torch.stack([model.theta.cos(), model.theta.sin()], 1))
    torch.testing.assert_close(model.angles(1), network.angles(1))


def test_a_profile_of_the_target_itself_is_flat() -> None:
    """Neurons (e_1, 2), (-e_1, 2) make |x_1|: no rise; with (e_2, 1) beside them f rises by 5 m^-1."""
    network = TwoLayerReLU(2, width=3)
    with torch.no_grad():
        network.w.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]))
        network.a.copy_(torch.tensor([3.0, 3.0, 0.0]))
        seen(Profile([0]), network, LowDimensionalTarget(2, 1))
        network.a[2] = 1.0
        seen(Profile([3]), network, LowDimensionalTarget(2, 1), steps=5)
    flat, risen = network.recorded["profile"]
    torch.testing.assert_close(flat, torch.ones(100))
    torch.testing.assert_close(risen, 1 + torch.linspace(0, 5, 100) / 3)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: LowDimensionalTarget(4, 5), "target_dim must be at least 1 and at most dim = 4, got 5"),
        (lambda: LowDimensionalTarget(4, 0), "target_dim must be at least 1 and at most dim = 4, got 0"),
        (lambda: LowDimensionalTarget(0, 0), "dim must be at least 1, got 0"),
        (lambda: LowDimensionalTarget(test_size=0), "test_size must be at least 1, got 0"),
        (lambda: AngularSamples(4, 4), "target_dim must be at least 1 and less than dim = 4, got 4"),
        (lambda: AngularSamples(steps_per_epoch=0), "steps_per_epoch must be at least 1, got 0"),
        (lambda: AngularDynamics(4, 4), "target_dim must be at least 1 and less than dim = 4, got 4"),
        (lambda: AngularDynamics(4, 2, width=0), "width must be at least 1, got 0"),
        (lambda: AngularDynamics(4, 2, lr=-1.0), "lr must be positive, got -1.0"),
        (lambda: Alignment(every=0), "every must be at least 1, got 0"),
        (lambda: Profile([3, 0, 3]), r"at holds different steps from 0 on, got \[3, 0, 3\]"),
        (lambda: Profile([-1]), r"at holds different steps from 0 on, got \[-1\]"),
        (lambda: Alignment(every=20, at=[20, 30]), "at holds steps that are multiples of every = 20, got 30"),
    ],
)
def test_bad_values_are_refused(made: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made()


@pytest.mark.parametrize(
    ("callback", "model", "data", "message"),
    [
        (Alignment, TwoLayerReLU(4, 8), OddTarget(4), "TwoLayerReLU is followed here on LowDimensionalTarget"),
        (Alignment, AngularDynamics(4, 2, 8), LowDimensionalTarget(4, 2), "followed here on AngularSamples"),
        (Profile, AngularDynamics(4, 2, 8), AngularSamples(4, 2), "AngularDynamics is not"),
        (Profile, TwoLayerReLU(4, 8), LowDimensionalTarget(4, 4), "no direction is left"),
    ],
)
def test_what_cannot_be_followed_is_refused(callback: Any, model: Any, data: Any, message: str) -> None:
    assert message in callback().refusal(model, data)
    with pytest.raises(ValueError, match=message):
        seen(callback(), model, data)

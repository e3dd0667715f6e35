"""Continuous normalising flows: the trace, the change of variables, and the linear field where all is known."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.observables.differential.densities import KnownDensity, gaussian_nll
from datamodules import Density, Digits, Gaussian, Moons
from zoo.differential import ContinuousNormalisingFlow, LinearFlow
from zoo.differential._flow import basis, carried, probe


def made(features: int = 2, **hyperparameters: Any) -> ContinuousNormalisingFlow:
    torch.manual_seed(0)
    arguments = {"hidden_features": 16, "steps": 20} | hyperparameters
    model = ContinuousNormalisingFlow(features, **arguments).double()
    with torch.no_grad():
        for parameter in model.parameters():  # a field that bends: fresh weights barely move a point
            parameter.mul_(2)
    return model


def points(size: int = 40, features: int = 2) -> Tensor:
    return torch.randn(size, features, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("activation", ["tanh", "softplus"])
@pytest.mark.parametrize("features", [1, 2, 5])
def test_tangents_are_pushed_by_the_jacobian(features: int, activation: str) -> None:
    model, x = made(features, activation=activation), points(6, features)
    jacobians = torch.stack([torch.func.jacrev(lambda z: model.field(0.3, z))(point) for point in x])
    velocity, products = model.field.pushed(0.3, x, basis(x))
    torch.testing.assert_close(velocity, model.field(0.3, x))
    torch.testing.assert_close(products.permute(1, 2, 0), jacobians, rtol=1e-12, atol=1e-13)  # rounding
    trace = (basis(x) * products).sum((0, -1))
    torch.testing.assert_close(trace, jacobians.diagonal(dim1=1, dim2=2).sum(1), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_the_estimated_trace_is_unbiased_and_of_the_known_variance(kind: str) -> None:
    model, draws = made(4), 20_000
    x = points(1, 4).expand(draws, 4)
    eps = probe(x, kind, torch.Generator().manual_seed(0))
    found = (eps * model.field.pushed(0.3, x, eps)[1]).sum((0, -1)).detach()
    jacobian = torch.func.jacrev(lambda z: model.field(0.3, z))(x[0]).detach()
    symmetric = (jacobian + jacobian.T) / 2
    squares = symmetric.square().sum() - (symmetric.diagonal().square().sum() if kind == "rademacher" else 0)
    z = (found.mean() - jacobian.trace()) / (2 * squares / draws).sqrt()
    assert abs(float(z)) < 4  # a normal deviate
    # a quadratic form of four normals has a kurtosis of 15 at most: its variance is known to sqrt(14 / draws) = 2.6 %
    assert float(found.var() / (2 * squares)) == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_the_estimated_log_density_is_unbiased_in_training_and_exact_outside(kind: str) -> None:
    model, exact = made(3, trace=kind, steps=4), made(3, steps=4)
    x = points(1, 3)
    assert torch.equal(model.eval().log_prob(x), exact.log_prob(x))
    torch.manual_seed(0)
    estimates = model.train().log_prob(x.expand(20_000, 3)).detach()
    z = (estimates.mean() - exact.log_prob(x).detach()) / (estimates.std() / math.sqrt(len(estimates)))
    assert estimates.std() > 0.01
    assert abs(float(z)) < 4


@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_there_and_back_is_the_identity(activation: str) -> None:
    model, x = made(activation=activation, steps=100), points()
    z, gained = carried(model.field, x, basis(x), 1.0, 100, backward=True)
    there, lost = carried(model.field, z, basis(x), 1.0, 100)
    # rk4 with steps of 1/100: some multiple of 1e-8, and rounding
    torch.testing.assert_close(there, x, rtol=0, atol=1e-7)
    torch.testing.assert_close(lost, -gained, rtol=0, atol=1e-7)


def test_the_log_density_is_that_of_the_map_and_its_jacobian() -> None:
    """log p(x) = log N(g(x)) + log |det dg/dx| for the map g that goes back to the base."""
    model, x = made(3, steps=40), points(5, 3)

    def back(point: Tensor) -> Tensor:
        return carried(model.field, point[None], basis(point[None]), 1.0, 40, backward=True)[0][0]

    determinant = torch.stack([torch.linalg.slogdet(torch.func.jacrev(back)(point)).logabsdet for point in x])
    z = torch.stack([back(point) for point in x])
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1) + determinant
    torch.testing.assert_close(model.log_prob(x), expected, rtol=0, atol=1e-5)  # both to rk4's error


def test_the_density_integrates_to_one() -> None:
    u = torch.linspace(-12, 12, 121, dtype=torch.float64)
    with torch.no_grad():
        p = made(steps=20).log_prob(torch.cartesian_prod(u, u)).exp()
    # a smooth density on a fine grid, 0 at its edge: what is left is rk4's error in the trace
    assert float(p.sum() * (u[1] - u[0]) ** 2) == pytest.approx(1, abs=1e-4)


def test_samples_follow_the_density() -> None:
    """The mean of -log p over samples is the entropy, the integral of -p log p over a grid."""
    model, u = made(steps=10), torch.linspace(-12, 12, 121, dtype=torch.float64)
    with torch.no_grad():
        log_p = model.log_prob(torch.cartesian_prod(u, u))
        entropy = -(log_p.exp() * log_p).sum() * (u[1] - u[0]) ** 2
        found = -model.log_prob(model.sample(4_000, torch.Generator().manual_seed(0)))
    assert abs(float((found.mean() - entropy) / (found.std() / math.sqrt(4_000)))) < 4


def test_paths_lead_from_the_base_to_the_samples() -> None:
    model = made()
    paths = model.paths(points(), (0.0, 0.25, 0.5, 1.0))
    torch.testing.assert_close(paths[-1], carried(model.field, points(), basis(points()), 1.0, 20)[0])
    assert torch.equal(paths[0], points())


def test_the_gradient_is_that_of_the_discrete_flow() -> None:
    model, x = made(hidden_features=3, layers=1, steps=2), points(3)
    weight = model.field.last.weight.detach().clone()

    def loss(given: Tensor) -> Tensor:
        return torch.func.functional_call(model, {"field.last.weight": given}, (x,)).mean()

    assert torch.autograd.gradcheck(loss, weight.requires_grad_())


@pytest.mark.parametrize("dim", [2, 3, 8])
def test_along_a_linear_field_everything_is_known(dim: int) -> None:
    torch.manual_seed(dim)
    model, x = LinearFlow(dim), points(50, dim).float()
    found = {name: float(value) for name, value in model.errors(x).items()}
    assert found["logdet_error"] < 1e-5  # float32: the trace is constant, and summed 128 times
    assert found["logdet_return_error"] < 1e-5
    assert max(found["flow_error"], found["return_error"], found["density_error"]) < 1e-4


def test_rk4_on_a_linear_field_is_of_order_four() -> None:
    errors = []
    for steps in (8, 16):
        torch.manual_seed(0)
        errors.append(float(LinearFlow(4, steps=steps).double().errors(points(20, 4))["flow_error"]))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.3)


class Known(ContinuousNormalisingFlow):
    """A model that has learned a density to perfection, and keeps what is logged."""

    data: Any

    def log_prob(self, x: Tensor) -> Tensor:
        found: Tensor = self.data.log_density(x)
        return found

    def sample(self, size: int, generator: torch.Generator | None = None) -> Tensor:
        found: Tensor = self.data.sample(size, generator)[0]
        return found

    def log(self, name: str, value: Any, *_: Any, **__: Any) -> None:
        self.__dict__.setdefault("logged", {})[name] = float(value)


def test_a_perfect_model_is_measured_to_be_one() -> None:
    model, model_data = Known(2), Density("eight_gaussians")
    model.__dict__["data"] = model_data
    trainer: Any = SimpleNamespace(datamodule=model_data)
    KnownDensity(grid=50).on_test_epoch_end(trainer, model)
    logged = model.__dict__["logged"]
    assert logged["test/gap"] == 0
    assert logged["test/gain"] == pytest.approx(logged["test/gaussian_gap"], rel=1e-6)
    assert logged["test/mass"] == pytest.approx(1, abs=1e-6)
    # eight normals of variance 1/8 that hardly overlap; 5,000 points know it to 1 / sqrt(5,000)
    assert logged["test/floor"] == pytest.approx(math.log(8) + math.log(2 * math.pi * math.e / 8), abs=0.06)
    assert logged["test/misplaced"] < 1e-3  # one of 5,000 is expected to be less likely than all of 5,000 others
    assert model.recorded["paths"].shape == (1, 21, 200, 2)


def test_the_best_gaussian_has_the_moments_of_the_points() -> None:
    x = points(500) * torch.tensor([2.0, 0.5]) + 1
    best = torch.distributions.MultivariateNormal(x.mean(0), torch.cov(x.T, correction=0))
    assert float(gaussian_nll(x)) == pytest.approx(-float(best.log_prob(x).mean()), rel=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: made(hidden_features=0), "hidden_features must be at least 1, got 0"),
        (lambda: made(activation="relu"), "activation must be one of 'tanh', 'softplus', got 'relu'"),
        (lambda: made(trace="none"), "trace must be one of 'exact', 'rademacher', 'gaussian', got 'none'"),
        (lambda: made(time=0.0), "time must be positive, got 0.0"),
        (lambda: made(3).log_prob(points()), r"x must be \(N, 3\), .* of the density, got \(40, 2\): give in_features"),
        (lambda: made(3).paths(points(), (0.0, 1.0)), r"x must be \(N, 3\)"),
        (lambda: LinearFlow(4)(points()), r"x must be \(N, 4\)"),
        (lambda: KnownDensity(grid=1), "grid must be at least 2, got 1"),
        (lambda: KnownDensity(half=0.0), "half must be positive, got 0.0"),
        (lambda: LinearFlow(2, steps=0), "steps must be at least 1, got 0"),
    ],
)
def test_bad_values_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("data", [Gaussian(3), Digits()])
def test_only_known_densities_in_the_plane_are_compared(data: Any) -> None:
    assert "has to be a known one in the plane" in KnownDensity().refusal(made(), data)
    assert KnownDensity().refusal(made(), Moons()) == ""
    assert KnownDensity().refusal(LinearFlow(2), Moons()) == "LinearFlow has no log_prob"

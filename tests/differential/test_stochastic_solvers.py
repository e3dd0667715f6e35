"""One interface for stochastic differential equations: strong orders, closed forms and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn
from torchsde import BrownianInterval, sdeint

from datamodules import BrownianPaths
from tests.differential.equations import MU, SIGMA, growth, network
from zoo._solvers import SDE, SOLVERS, Increments, integrate_sde
from zoo._solvers._brownian import Widened
from zoo.differential import AdjointSDE, GeometricBrownianMotion
from zoo.differential.adjoint_sde import Perceptron

DOUBLE = torch.float64
METHODS = [(calculus, method) for calculus, methods in SOLVERS.items() for method in methods]


def paths(size: int, steps: int) -> Increments:
    data = BrownianPaths(fine_steps=steps)
    increments, areas = data.sample(size, torch.Generator().manual_seed(1))
    return Increments(increments.transpose(0, 1), areas.transpose(0, 1))


# what one step multiplies the state by, of its length and its increment
FACTORS: dict[str, Callable[[float, np.ndarray], np.ndarray]] = {
    "euler": lambda h, w: 1 + MU * h + SIGMA * w,
    "milstein": lambda h, w: 1 + MU * h + SIGMA * w + SIGMA**2 / 2 * (w * w - h),
    "heun": lambda h, w: 1 + (a := (MU - SIGMA**2 / 2) * h + SIGMA * w) + a * a / 2,
}


def population(method: str, steps: int) -> float:
    """The strong error E[(Y - X)^2]^(1/2) of independent equal steps, by Gauss's rule for the normal distribution."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    h = 1 / steps
    w = math.sqrt(h) * nodes
    y, x = FACTORS[method](h, w), np.exp((MU - SIGMA**2 / 2) * h + SIGMA * w)
    yy, xy, xx = (float((weights * product).sum() / weights.sum()) ** steps for product in (y * y, x * y, x * x))
    return math.sqrt(yy - 2 * xy + xx)


@pytest.mark.parametrize("method", FACTORS)
def test_steps_on_geometric_brownian_motion_are_the_methods_own(method: str) -> None:
    calculus, noise = "stratonovich" if method == "heun" else "ito", paths(100, 8)
    end = integrate_sde(growth(calculus), torch.ones(100, 1, dtype=DOUBLE), [0.0, 1.0], method, 1 / 8, noise).states[-1]
    expected = FACTORS[method](1 / 8, noise.steps.numpy()).prod(0)
    torch.testing.assert_close(end, torch.from_numpy(expected), rtol=1e-12, atol=1e-12)


def test_the_values_that_are_claimed_are_those_of_the_closed_form() -> None:
    claims = yaml.safe_load(Path("configs/differential/sde_solvers.yaml").read_text())["claims"]
    exact = [claim for claim in claims if claim["kind"] == "value"]
    assert len(exact) == 6
    for claim in exact:
        steps = claim["at"]["model.init_args.steps"]
        assert claim["value"] == pytest.approx(population(claim["model"], steps), rel=5e-4)  # four digits are given


@pytest.mark.parametrize(
    ("method", "order"),
    [("euler", 0.5), ("milstein", 1), ("srk", 1.5), ("heun", 1), ("midpoint", 1), ("reversible_heun", 1)],
)
def test_strong_orders(method: str, order: float) -> None:
    batch = BrownianPaths().sample(4000, torch.Generator().manual_seed(0))
    errors = [
        float(GeometricBrownianMotion(64, method, steps).step(batch)["error"].detach()) for steps in (8, 16, 32, 64)
    ]
    slope = np.polyfit(np.log2([8, 16, 32, 64]), np.log2(errors), 1)[0]
    # a tenth: the next term at these steps, and what the errors of 4,000 paths do not have in common
    assert abs(slope + order) < 0.1


@pytest.mark.parametrize(("calculus", "method"), METHODS)
def test_additive_noise_alone_is_integrated_exactly(calculus: str, method: str) -> None:
    mixing = torch.tensor([[1.0, 2.0], [0.0, -1.0], [3.0, 0.5]], dtype=DOUBLE)
    sde = SDE(
        lambda _t, y: torch.full_like(y, 2.0),
        lambda _t, y: mixing.expand(len(y), 3, 2),
        calculus,
        "additive",
        channels=2,
    )
    steps, areas = 0.3 * torch.randn(2, 5, 4, 2, dtype=DOUBLE)
    y = torch.randn(4, 3, dtype=DOUBLE)
    states = integrate_sde(sde, y, [0.0, 0.4, 1.0], method, 0.2, Increments(steps, areas)).states
    torch.testing.assert_close(states[1], y + 0.8 + steps[:2].sum(0) @ mixing.mT, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(states[2], y + 2.0 + steps.sum(0) @ mixing.mT, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("calculus", "method"), METHODS)
def test_the_mean_of_an_ornstein_uhlenbeck_process_is_that_of_its_equation_with_time(
    calculus: str, method: str
) -> None:
    # dX = (t - X) dt + 0.5 dW is linear, so that steps of opposite noise have the solution without noise as their mean
    sde = SDE(lambda t, x: t - x, lambda _t, x: torch.full_like(x, 0.5), calculus)
    steps, areas = 0.1 * torch.randn(2, 256, 1, 1, dtype=DOUBLE), 0.001 * torch.randn(2, 256, 1, 1, dtype=DOUBLE)
    both = Increments(torch.cat([steps[0], -steps[0]], 1), torch.cat([areas[0], -areas[0]], 1))
    end = integrate_sde(sde, torch.ones(2, 1, dtype=DOUBLE), [0.0, 0.5, 2.0], method, 1 / 128, both).states[-1]
    exact = 1 + 2 * math.exp(-2)  # x' = t - x, x(0) = 1: x = t - 1 + 2 exp(-t)
    assert float(end.mean()) == pytest.approx(exact, abs=1e-2 if method in {"euler", "milstein"} else 1e-4)


def test_coarser_increments_are_those_of_the_same_path() -> None:
    h, fine = 1 / 64, paths(7, 64)
    coarse = fine.coarsened(16, h)
    path = torch.cat([torch.zeros(1, 7, 1, dtype=DOUBLE), fine.steps.cumsum(0)])
    torch.testing.assert_close(coarse.steps, path[16::16] - path[:-1:16], rtol=1e-12, atol=1e-12)
    assert fine.areas is not None
    areas = (fine.areas + h * path[:-1]).unflatten(0, (4, 16)).sum(1) - 16 * h * path[:-1:16]
    torch.testing.assert_close(coarse.areas, areas, rtol=1e-12, atol=1e-12)
    twice = fine.coarsened(4, h).coarsened(4, 4 * h)
    torch.testing.assert_close(twice.areas, coarse.areas, rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="must divide the 64 steps, got 5"):
        fine.coarsened(5, h)


def test_moments_of_the_paths_and_their_areas() -> None:
    increments, areas = BrownianPaths(fine_steps=4).sample(100_000, torch.Generator().manual_seed(0))
    coarse = Increments(increments.transpose(0, 1), areas.transpose(0, 1)).coarsened(4, 1 / 4)
    assert coarse.areas is not None
    both = torch.stack([coarse.steps[0, :, 0], coarse.areas[0, :, 0]])
    # W(1) and int_0^1 W: variances 1 and 1/3, covariance 1/2; five deviations of what 100,000 paths give
    expected = torch.tensor([[1, 1 / 2], [1 / 2, 1 / 3]], dtype=DOUBLE)
    spread = (expected.square() + expected.diagonal().outer(expected.diagonal())).sqrt() / math.sqrt(100_000)
    assert bool(((both.cov() - expected).abs() < 5 * spread).all())


@pytest.mark.parametrize(("calculus", "method"), [pair for pair in METHODS if pair[1] != "srk"])
def test_a_seed_gives_one_path_for_all_methods(calculus: str, method: str) -> None:
    sde = SDE(lambda _t, y: 0 * y, lambda _t, y: torch.ones_like(y), calculus)
    reference = SDE(lambda _t, y: 0 * y, lambda _t, y: torch.ones_like(y))
    y, times = torch.zeros(5, 2, dtype=DOUBLE), [0.0, 0.3, 1.0]
    expected = integrate_sde(reference, y, times, "euler", 0.1, noise=7).states
    torch.testing.assert_close(integrate_sde(sde, y, times, method, 0.1, noise=7).states, expected)
    assert not torch.equal(expected, integrate_sde(reference, y, times, "euler", 0.1, noise=8).states)


@pytest.mark.parametrize("method", ["heun", "midpoint", "reversible_heun"])
@pytest.mark.parametrize("step", [1 / 4, 1 / 10, 1 / 7])
def test_the_adjoint_beside_the_gradient_of_the_steps(method: str, step: float) -> None:
    sde, y = network(), torch.randn(16, 3, dtype=DOUBLE)
    gradients = []
    for adjoint in (False, True):
        states = integrate_sde(sde, y, [0.0, 0.3, 1.0], method, min(step, 0.3), 3, adjoint).states
        gradients.append(
            torch.cat([g.flatten() for g in torch.autograd.grad(states.square().mean(), list(sde.parameters()))])
        )
    error = float((gradients[0] - gradients[1]).abs().sum() / gradients[0].abs().sum())
    if method == "reversible_heun":
        assert error < 1e-12  # its steps are undone exactly, also where they are no binary fraction
    else:
        assert 1e-8 < error < 0.1  # the adjoint's own error


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_the_gradient_through_the_steps_is_exact(method: str) -> None:
    sde = network("ito" if method == "euler" else "stratonovich")
    increments = 0.5 * torch.randn(3, 2, 3, dtype=DOUBLE)
    y = torch.randn(2, 3, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda start: integrate_sde(sde, start, [0.0, 1.0], method, 1 / 3, increments).states, y
    )


@pytest.mark.parametrize("method", ["euler", "midpoint", "heun", "reversible_heun", "srk"])
def test_the_divergence_of_two_ornstein_uhlenbeck_processes_is_girsanovs(method: str) -> None:
    # drifts theta (mu - x) with the same theta and sigma: u = theta (mu_f - mu_h) / sigma, constant in each dimension
    calculus = next(calculus for calculus, methods in SOLVERS.items() if method in methods)
    sde = SDE(lambda _t, x: 1.5 - x, lambda _t, x: torch.full_like(x, 0.4), calculus)
    y = torch.zeros(5, 2, dtype=DOUBLE)
    solution = integrate_sde(sde, y, [0.0, 1.0, 2.0], method, 0.25, prior=lambda _t, x: 0.5 - x)
    exact = torch.tensor([0.0, 6.25, 12.5], dtype=DOUBLE)[:, None].expand(3, 5)
    torch.testing.assert_close(solution.divergence, exact, rtol=1e-12, atol=1e-12)
    assert solution.states.shape == (3, 5, 2)


@pytest.mark.parametrize("method", ["midpoint", "heun", "reversible_heun"])
def test_the_divergence_is_the_librarys(method: str) -> None:
    class Both(nn.Module):
        sde_type, noise_type = "stratonovich", "diagonal"

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.drift, self.prior = (Perceptron(3, 8, (3,)).double() for _ in range(2))

        def f(self, t: Any, y: Tensor) -> Tensor:
            return self.drift(t, y)

        def g(self, _t: Any, y: Tensor) -> Tensor:
            return 0.5 + 0.1 * y.cos()

        def h(self, t: Any, y: Tensor) -> Tensor:
            return self.prior(t, y)

    both, y = Both(), torch.randn(4, 3, dtype=DOUBLE)
    ours = integrate_sde(SDE(both.f, both.g, "stratonovich"), y, [0.0, 8.0], method, 1.0, 5, prior=both.h)
    path = BrownianInterval(0.0, 8.0, (4, 3), DOUBLE, entropy=5, dt=1.0, cache_size=None)
    states, divergence = sdeint(both, y, torch.tensor([0.0, 8.0]), Widened(path), method=method, dt=1.0, logqp=True)
    assert ours.divergence is not None
    torch.testing.assert_close(ours.states, states, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.divergence[1:], divergence, rtol=1e-12, atol=1e-12)


def test_evaluations_are_counted() -> None:
    called = 0

    def drift(_t: Any, y: Tensor) -> Tensor:
        nonlocal called
        called += 1
        return -y

    for calculus, method in METHODS:
        called = 0
        solution = integrate_sde(SDE(drift, lambda _t, y: y, calculus), torch.ones(2, 1), [0.0, 1.0, 3.0], method, 0.5)
        assert solution.evaluations == called >= 6
    assert integrate_sde(growth(), torch.ones(2, 1), [0.0, 1.0, 3.0], "euler", 0.5).evaluations == 6
    assert integrate_sde(growth("stratonovich"), torch.ones(2, 1), [0.0, 1.0, 3.0], "heun", 0.5).evaluations == 12


def test_stacked_equations_are_solved_as_each_alone() -> None:
    rates, y = torch.tensor([0.5, 1.0, 2.0], dtype=DOUBLE), torch.randn(3, 4, dtype=DOUBLE)
    noise = 0.3 * torch.randn(3, 10, 4, dtype=DOUBLE)

    def solve(rate: Tensor, start: Tensor, increments: Tensor) -> Tensor:
        return integrate_sde(
            SDE(lambda _t, x: -rate * x, lambda _t, x: x), start, [0.0, 1.0], "euler", 0.1, increments
        ).states

    together = torch.vmap(solve)(rates, y, noise)
    for number in range(3):
        torch.testing.assert_close(together[number], solve(rates[number], y[number], noise[number]), rtol=1e-14, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["euler", "heun"])
def test_own_steps_compile_as_one_graph(method: str) -> None:
    sde = network("ito" if method == "euler" else "stratonovich")
    y, noise = torch.randn(5, 3, dtype=DOUBLE), 0.3 * torch.randn(4, 5, 3, dtype=DOUBLE)

    def solve(start: Tensor, increments: Tensor) -> Tensor:
        return integrate_sde(sde, start, [0.0, 1.0], method, 0.25, increments).states[-1]

    torch.testing.assert_close(torch.compile(solve, fullgraph=True)(y, noise), solve(y, noise), rtol=1e-12, atol=1e-12)


def test_noise_that_does_not_commute_leaves_order_one_half() -> None:
    # g_1 of y_2 and g_2 of y_1: what the orders of all methods but euler exclude
    sde = SDE(lambda _t, y: -y, lambda _t, y: 1 + 0.8 * y.flip(-1).sin())
    fine = BrownianPaths(dim=2, fine_steps=512).sample(2000, torch.Generator().manual_seed(0))
    path = Increments(*(part.transpose(0, 1) for part in fine))
    y, ends = torch.zeros(2000, 2, dtype=DOUBLE), []
    for steps in (8, 16, 32, 512):
        noise = path.coarsened(512 // steps, 1 / 512)
        ends.append(integrate_sde(sde, y, [0.0, 1.0], "milstein", 1 / steps, noise).states[-1].detach())
    errors = [float((end - ends[-1]).square().mean().sqrt()) for end in ends[:3]]
    assert np.polyfit(np.log2([8, 16, 32]), np.log2(errors), 1)[0] > -0.7


def test_milstein_without_gradients_still_differentiates_the_diffusion() -> None:
    y, noise = torch.ones(2, 1), torch.full((2, 2, 1), 0.3)

    def end(method: str) -> Tensor:
        return integrate_sde(growth(), y, [0.0, 1.0], method, 0.5, noise).states[-1].detach()

    with torch.no_grad():
        quiet = end("milstein")
    torch.testing.assert_close(quiet, end("milstein"), rtol=1e-6, atol=0)
    assert not torch.allclose(quiet, end("euler"))


@pytest.mark.parametrize("steps", [8, 16])
def test_the_adjoint_of_reversible_heun_keeps_one_state(steps: int) -> None:
    torch.manual_seed(0)
    scalars = AdjointSDE(3, 20, "reversible_heun", steps).step((torch.randn(32, 3),))
    assert float(scalars["gradient_error"]) < 1e-12
    # y, y^, f and g of 32 states of 3 doubles a few times over; through the steps the hidden layers of each step
    assert float(scalars["saved_bytes"]) < 1e5
    assert float(scalars["saved_by_steps"]) >= steps * 2 * 32 * 20 * 8

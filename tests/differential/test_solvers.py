"""One interface for ordinary differential equations: orders, gradients, counts, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchdiffeq import odeint

from zoo._solvers import BANNED, FIXED, integrate, with_time
from zoo.differential import AdjointODE, ScalarODE
from zoo.differential.adjoint_ode import CubicField

DOUBLE = torch.float64


def forced(t: Any, y: Tensor) -> Tensor:
    return torch.sin(torch.as_tensor(t, dtype=y.dtype)) - y * torch.cos(torch.as_tensor(t, dtype=y.dtype))


def decay(_t: Any, y: Tensor) -> Tensor:
    return -y


def order(errors: list[float]) -> float:
    """The least-squares slope of log error over log step, of steps that halve."""
    x = torch.arange(len(errors), dtype=DOUBLE) * math.log(2)
    logs = -torch.tensor(errors, dtype=DOUBLE).log()
    return float(((x - x.mean()) * (logs - logs.mean())).sum() / (x - x.mean()).square().sum())


@pytest.mark.parametrize(("method", "expected"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_orders_on_exponential_decay(method: str, expected: int) -> None:
    y, times = torch.ones(1, dtype=DOUBLE), [0.0, 2.0]
    ends = [integrate(decay, y, times, method, 2.0 / n).states[-1] for n in (32, 64, 128, 256)]
    # the next term of the error is a step smaller: 1/16 of the order at the coarsest
    assert abs(order([float(abs(end - math.exp(-2))) for end in ends]) - expected) < 0.05 * expected


@pytest.mark.parametrize("method", FIXED)
@pytest.mark.parametrize("field", [forced, decay])
def test_fixed_steps_are_the_librarys(method: str, field: Callable[[Any, Tensor], Tensor]) -> None:
    y, times = torch.linspace(-1, 1, 7, dtype=DOUBLE), torch.tensor([0.0, 0.3, 0.5, 1.4, 2.0], dtype=DOUBLE)
    ours = integrate(field, y, times, method).states
    torch.testing.assert_close(ours, odeint(field, y, times, method=method), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("tolerance", [1e-4, 1e-6, 1e-8, 1e-10])
def test_the_adaptive_solver_keeps_its_tolerance_on_a_stable_equation(tolerance: float) -> None:
    y = torch.ones(3, dtype=DOUBLE)
    solution = integrate(decay, y, [0.0, 1.0, 2.0], "dopri5", rtol=tolerance, atol=tolerance)
    exact = torch.tensor([1, math.exp(-1), math.exp(-2)], dtype=DOUBLE)[:, None].expand(3, 3)
    # errors of single steps add up, and decay while they do: at most the number of steps times the tolerance
    assert float((solution.states - exact).abs().max()) < tolerance * solution.evaluations / 6


def test_times_between_the_ends_do_not_change_a_fixed_solution_on_the_same_grid() -> None:
    y = torch.ones(1, dtype=DOUBLE)
    sparse = integrate(forced, y, [0.0, 2.0], "rk4", 0.25).states[-1]
    dense = integrate(forced, y, [0.0, 0.5, 1.25, 2.0], "rk4", 0.25).states[-1]
    torch.testing.assert_close(sparse, dense, rtol=1e-14, atol=0)


@pytest.mark.parametrize(("method", "stages"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_evaluations_are_counted_exactly(method: str, stages: int) -> None:
    called = 0

    def field(_t: Any, y: Tensor) -> Tensor:
        nonlocal called
        called += 1
        return -y

    solution = integrate(field, torch.ones(2), [0.0, 1.0, 3.0], method, 0.3)
    assert solution.evaluations == called == stages * (4 + 7)  # 1 / 0.3 and 2 / 0.3, rounded up


def test_evaluations_of_the_adaptive_solver_are_counted_and_grow_with_accuracy() -> None:
    counts = [
        integrate(forced, torch.ones(1, dtype=DOUBLE), [0.0, 2.0], "dopri5", rtol=t, atol=t).evaluations
        for t in (1e-4, 1e-6, 1e-8)
    ]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_a_field_that_jumps_is_integrated_exactly_where_no_step_crosses_it() -> None:
    def field(t: Any, y: Tensor) -> Tensor:
        return torch.full_like(y, 1.0 if float(t) < 1.0 else -3.0)

    y = torch.zeros(1, dtype=DOUBLE)
    for method in ("euler", "midpoint", "rk4"):
        end = integrate(field, y, [0.0, 1.5], method, 0.4, jumps=[1.0]).states[-1]
        torch.testing.assert_close(end, torch.tensor([1.0 - 1.5], dtype=DOUBLE), rtol=1e-12, atol=1e-12)
    end = integrate(field, y, [0.0, 1.5], "dopri5", jumps=[1.0]).states[-1]
    assert float(abs(end + 0.5)) < 1e-5
    crossed = integrate(field, y, [0.0, 1.5], "rk4", 0.5).states[-1]
    assert float(abs(crossed + 0.5)) > 1e-3  # a step that ends at 1 reads the field behind the jump


def _loss(network: CubicField, y: Tensor, **how: Any) -> Tensor:
    return integrate(network, y, [0.0, 1.0], **how).states[-1].square().mean()


@pytest.fixture
def network() -> CubicField:
    torch.manual_seed(0)
    return CubicField(2, 50).double()


@pytest.mark.parametrize("method", FIXED)
def test_the_gradient_through_fixed_steps_is_exact(network: CubicField, method: str) -> None:
    y = torch.randn(3, 2, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(lambda start: integrate(network, start, [0.0, 1.0], method, 0.25).states, y)


def test_the_adjoint_at_a_tolerance_of_1e_minus_9_gives_six_digits_of_the_gradient(network: CubicField) -> None:
    y, tight = torch.randn(16, 2, dtype=DOUBLE), {"method": "dopri5", "rtol": 1e-9, "atol": 1e-9}
    parameters = list(network.parameters())
    true = torch.autograd.grad(_loss(network, y, method="rk4", step=1 / 512), parameters)
    adjoint = torch.autograd.grad(_loss(network, y, adjoint=True, **tight), parameters)
    wrong = sum(float((a - b).abs().sum()) for a, b in zip(adjoint, true, strict=True))
    assert wrong / sum(float(t.abs().sum()) for t in true) < 1e-6


@pytest.mark.parametrize("method", FIXED)
def test_the_adjoint_of_fixed_steps_tends_to_the_gradient_with_the_order_of_the_method(
    network: CubicField, method: str
) -> None:
    y, parameters = torch.randn(16, 2, dtype=DOUBLE), list(network.parameters())
    true = torch.autograd.grad(_loss(network, y, method="rk4", step=1 / 512), parameters)
    errors = []
    for steps in (16, 32, 64):
        found = torch.autograd.grad(_loss(network, y, method=method, step=1 / steps, adjoint=True), parameters)
        errors.append(sum(float((a - b).abs().sum()) for a, b in zip(found, true, strict=True)))
    assert abs(order(errors) - FIXED[method][1]) < 0.15 * FIXED[method][1]  # the next term, at 16 steps


def test_states_keep_their_dtype_and_double_ones_their_digits() -> None:
    for dtype in (torch.float32, DOUBLE):
        for method in (*FIXED, "dopri5"):
            assert integrate(decay, torch.ones(2, dtype=dtype), [0.0, 1.0], method).states.dtype == dtype


def test_stacked_states_and_fields_are_solved_as_each_alone() -> None:
    rates, y = torch.tensor([0.5, 1.0, 2.0], dtype=DOUBLE), torch.randn(3, 4, dtype=DOUBLE)

    def solve(rate: Tensor, start: Tensor) -> Tensor:
        return integrate(lambda _t, state: -rate * state, start, [0.0, 1.0], "rk4", 0.1).states

    together = torch.vmap(solve)(rates, y)
    for number in range(3):
        torch.testing.assert_close(together[number], solve(rates[number], y[number]), rtol=1e-14, atol=0)


@pytest.mark.slow
def test_fixed_steps_compile_as_one_graph() -> None:
    network = nn.Linear(3, 3).double()
    y = torch.randn(5, 3, dtype=DOUBLE)

    def solve(start: Tensor) -> Tensor:
        return integrate(lambda t, state: network(state).tanh(), start, [0.0, 1.0], "rk4", 0.25).states[-1]

    torch.testing.assert_close(torch.compile(solve, fullgraph=True)(y), solve(y), rtol=1e-12, atol=1e-12)


def test_time_is_the_last_component_of_what_a_field_reads() -> None:
    joined = with_time(0.25, torch.ones(2, 3))
    assert torch.equal(joined, torch.tensor([[1.0, 1.0, 1.0, 0.25]] * 2))


@pytest.mark.parametrize("method", BANNED)
def test_solvers_that_are_known_to_be_wrong_are_refused_with_the_reason(method: str) -> None:
    reason = "dopri5" if method == "dopri8" else "unstable|tolerances"
    with pytest.raises(ValueError, match=rf"{method}.* is refused, .*({reason})"):
        integrate(decay, torch.ones(1), [0.0, 1.0], method)


@pytest.mark.parametrize(
    ("times", "how", "message"),
    [
        ([0.0, 1.0, 1.0], {}, r"increase strictly: times\[2\] = 1 follows 1"),
        ([0.0, math.nan], {}, r"times\[1\] = nan follows 0"),
        ([1.0, 0.0], {}, r"times\[1\] = 0 follows 1"),
        ([0.0], {}, "at least two"),
        ([0.0, 1.0], {"step": 1.5}, "at most the interval, 1, got 1.5"),
        ([0.0, 1.0], {"step": 0.0}, "step must be positive"),
        ([0.0, 1.0], {"method": "dopri5", "rtol": 0.0}, "rtol must be positive"),
        ([0.0, 1.0], {"method": "rk45"}, "method must be one of 'euler', 'midpoint', 'rk4', 'dopri5'"),
    ],
)
def test_what_cannot_be_solved_is_refused(times: list[float], how: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        integrate(decay, torch.ones(1), times, **how)


def test_an_underflow_names_the_step_the_time_and_what_may_help() -> None:
    def explodes(_t: Any, y: Tensor) -> Tensor:
        return y**2  # infinite at t = 1

    with pytest.raises(ArithmeticError, match=r"its step fell to \S+ near t = 1.*loosen the tolerances.*rk4"):
        integrate(explodes, torch.ones(1, dtype=DOUBLE), [0.0, 2.0], "dopri5", rtol=1e-8, atol=1e-8)


def test_the_adjoint_needs_a_module() -> None:
    with pytest.raises(TypeError, match=r"nn\.Module"):
        integrate(decay, torch.ones(1), [0.0, 1.0], adjoint=True)


def test_the_exact_solutions_solve_their_equations() -> None:
    for equation in ("forced", "decay"):
        model = ScalarODE(equation, "dopri5", tolerance=1e-12)
        y = torch.linspace(-1, 1, 5, dtype=DOUBLE)[:, None]
        torch.testing.assert_close(model(y), model.exact(y), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("adjoint", [True, False])
def test_what_is_kept_for_the_backward_pass(adjoint: bool) -> None:
    y = torch.randn(32, 2)
    kept = []
    for steps in (8, 16):
        torch.manual_seed(0)
        kept.append(float(AdjointODE(2, method="rk4", adjoint=adjoint, steps=steps).step((y,))["saved_bytes"]))
    if adjoint:
        assert kept[0] == kept[1]
    else:  # each evaluation keeps its hidden layer of 50, of 32 states of 8 bytes, and less than twice as much again
        assert 8 * 4 * 32 * 50 * 8 <= kept[1] - kept[0] <= 2 * 8 * 4 * 32 * 50 * 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"equation": "stiff"}, "equation must be one of"), ({"steps": 0}, "steps must be"), ({"tolerance": 0}, "rtol")],
)
def test_bad_scalar_equations(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScalarODE(**arguments)

"""Ordinary differential equations: fixed steps of our own, adaptive ones and adjoints by torchdiffeq."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from zoo._checks import one_of, positive
from zoo._solvers._steps import Evaluations, Field, Solution, check_times, grid

Step = Callable[[Field, tuple[float, float], float, Tensor], Tensor]

INSIDE = 1e-6  # of a step: how far from its ends a field that jumps there is evaluated
BANNED = {
    "explicit_adams": "it is unstable at its default order",
    "implicit_adams": "its tolerances are not those that are asked for",
    "fixed_adams": "it is unstable at its default order",
    "dopri8": "it misses its tolerance: use dopri5",
}


def _euler(field: Field, ends: tuple[float, float], dt: float, y: Tensor) -> Tensor:
    return y + dt * field(ends[0], y)


def _midpoint(field: Field, ends: tuple[float, float], dt: float, y: Tensor) -> Tensor:
    return y + dt * field((ends[0] + ends[1]) / 2, y + dt / 2 * field(ends[0], y))


def _rk4(field: Field, ends: tuple[float, float], dt: float, y: Tensor) -> Tensor:
    t0, t1 = ends
    k1 = field(t0, y)
    k2 = field((2 * t0 + t1) / 3, y + dt / 3 * k1)
    k3 = field((t0 + 2 * t1) / 3, y + dt * (k2 - k1 / 3))
    k4 = field(t1, y + dt * (k1 - k2 + k3))
    return y + dt / 8 * (k1 + 3 * (k2 + k3) + k4)


#: Step and evaluations of the field a step; the order of rk4, Kutta's 3/8 rule, is as many as these.
FIXED: dict[str, tuple[Step, int]] = {"euler": (_euler, 1), "midpoint": (_midpoint, 2), "rk4": (_rk4, 4)}
METHODS = (*FIXED, "dopri5")


def integrate(
    field: Field,
    y0: Tensor,
    times: Sequence[float] | Tensor,
    method: str = "rk4",
    step: float | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    adjoint: bool = False,
    jumps: Sequence[float] = (),
) -> Solution:
    """Solves dy/dt = field(t, y), y(times[0]) = y0: a `Solution`, whose `states` (T, *shape of y0) are y at all times.

    `euler`, `midpoint` and `rk4` take equal steps of at most `step` between any two times (one step where it is left
    out) and are differentiated step by step, exactly; they work under `torch.vmap` and `torch.compile`. `dopri5`
    chooses its steps by rtol and atol, for all states at once. With `adjoint` the gradient is that of the adjoint
    equation, solved backward in time by the same method: it takes memory for one state, and its error is of the order
    of the solver's. The field has to be an nn.Module then, whose parameters are what is differentiated.

    At `jumps` the field is not continuous in time: no step crosses one, and none evaluates the field exactly there.

    Times increase strictly; to go back in time solve dy/ds = -field(T - s, y). Raises ValueError for times that do not,
    a method that is unknown or known to be wrong, a step longer than the whole interval, tolerances that are not
    positive, and ArithmeticError where dopri5 cannot keep its tolerances.
    """
    moments = [float(t) for t in times]
    check(moments, method, step, rtol, atol)
    if method in FIXED and not adjoint:
        return _fixed(field, y0, moments, method, step, jumps)
    return _by_library(field, y0, moments, method, step, (rtol, atol), adjoint, jumps)


def check(times: Sequence[float], method: str, step: float | None, rtol: float = 1e-5, atol: float = 1e-5) -> None:
    """Raises ValueError for what `integrate` refuses, before anything is solved."""
    if method in BANNED:
        raise ValueError(f"method {method!r} is refused, {BANNED[method]}; choose one of {', '.join(METHODS)}")
    one_of(METHODS, method=method)
    positive(rtol=rtol, atol=atol)
    check_times(times, step)


def _fixed(
    field: Field, y0: Tensor, times: Sequence[float], method: str, step: float | None, jumps: Sequence[float]
) -> Solution:
    advance, stages = FIXED[method]
    inside, count, y, states = INSIDE if jumps else 0.0, 0, y0, [y0]
    for ends in grid(times, step, jumps):
        for t0, t1 in pairwise(ends):
            dt = t1 - t0
            y = advance(field, (t0 + inside * dt, t1 - inside * dt), dt, y)
        count += stages * (len(ends) - 1)
        states.append(y)
    return Solution(torch.stack(states), Evaluations(count))


class _Counted(nn.Module):
    """A field that knows how often it was evaluated, and when for the last time."""

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.field = field
        self.evaluations = Evaluations()
        self.last: Any = math.nan

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.evaluations.count += 1
        self.last = t
        return self.field(t, y)


def _by_library(
    field: Field,
    y0: Tensor,
    times: Sequence[float],
    method: str,
    step: float | None,
    tolerances: tuple[float, float],
    adjoint: bool,
    jumps: Sequence[float],
) -> Solution:
    from torchdiffeq import odeint, odeint_adjoint

    if adjoint and not isinstance(field, nn.Module):
        raise TypeError(
            f"field must be an nn.Module for its adjoint, got {type(field).__name__}: its parameters are sought"
        )
    counted = _Counted(field)
    moments = torch.tensor(times, dtype=torch.float64, device=y0.device)
    options: dict[str, Any] = {}
    if method in FIXED:
        options = {
            "grid_constructor": lambda _f, _y, t: _joined(grid(t.tolist(), step, jumps), t),
            "perturb": bool(jumps),
        }
    elif jumps:
        within = [t for t in sorted(set(jumps)) if times[0] < t < times[-1]]
        options = {"jump_t": torch.tensor(within, dtype=torch.float64, device=y0.device)}
    solve = odeint_adjoint if adjoint else odeint
    rtol, atol = tolerances
    try:
        states = solve(counted, y0, moments, rtol=rtol, atol=atol, method=method, options=options)
    except AssertionError as error:
        raise _underflow(error, counted, rtol, atol) from error
    return Solution(states, counted.evaluations)


def _joined(steps: list[list[float]], like: Tensor) -> Tensor:
    return torch.tensor([steps[0][0], *(t for ends in steps for t in ends[1:])], dtype=like.dtype, device=like.device)


def _underflow(error: AssertionError, field: _Counted, rtol: float, atol: float) -> Exception:
    if not (found := re.search(r"underflow in dt (\S+)", str(error))):
        return error
    return ArithmeticError(
        f"dopri5 cannot keep rtol = {rtol:g} and atol = {atol:g}: its step fell to {found[1]} near "
        f"t = {float(field.last):g}; the field may be stiff or not finite there: loosen the tolerances, limit it, "
        "or take fixed steps (rk4)"
    )

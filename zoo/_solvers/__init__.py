"""Differential equations, ordinary (`integrate`) and stochastic (`integrate_sde`): both return a `Solution`."""

from zoo._solvers._brownian import Increments
from zoo._solvers._ode import BANNED, FIXED, check, integrate
from zoo._solvers._sde import REFUSED, SDE, SOLVERS, check_sde, integrate_sde
from zoo._solvers._steps import Solution, with_time

__all__ = [
    "BANNED",
    "FIXED",
    "REFUSED",
    "SDE",
    "SOLVERS",
    "Increments",
    "Solution",
    "check",
    "check_sde",
    "integrate",
    "integrate_sde",
    "with_time",
]

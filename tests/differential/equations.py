"""Stochastic equations that several tests solve."""

from __future__ import annotations

import torch

from zoo._solvers import SDE
from zoo.differential.adjoint_sde import Perceptron

MU, SIGMA = 0.5, 0.8


def growth(calculus: str = "ito") -> SDE:
    """Geometric Brownian motion in either sense."""
    rate = MU - (SIGMA**2 / 2 if calculus == "stratonovich" else 0)
    return SDE(lambda _t, x: rate * x, lambda _t, x: SIGMA * x, calculus)


def network(calculus: str = "stratonovich", noise: str = "diagonal", channels: int | None = None) -> SDE:
    torch.manual_seed(0)
    shape = (3,) if noise == "diagonal" else (3, 1)
    return SDE(Perceptron(3, 8, (3,)), Perceptron(3, 8, shape), calculus, noise, channels).double()

"""Closed dynamics and limits of two-layer ReLU networks of infinite width."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def odd_target_path(dim: int, lr: float, steps: int) -> tuple[Tensor, Tensor]:
    """Distance to the best linear predictor and loss along training on an odd target, width infinite.

    On the odd cubic target with E[y^2] / 2 = 1 and x ~ N(0, I/d), the network stays linear, f(x) = w(t) . x, with

        dL/dt = 1 - S,   S = V sinh(||w*|| L / d) / (4 ||w*||),   V = 1 + 1/d,   w(t) = S w*,   L(0) = 0

    and ||w*|| = sqrt(6 d / 5). The loss is 1 + (||w(t) - w*||^2 - ||w*||^2) / (2 d), from 1 down to 0.4.

    Returns ||w(t) - w*|| and the loss after 0, 1, …, `steps` Euler steps of length lr, float64, (steps + 1,) each.

    Source: K. Hajjar and L. Chizat, "Symmetries in the dynamics of wide two-layer neural networks", 2022,
    arXiv:2211.08771.
    """
    norm = math.sqrt(1.2 * dim)
    length, path = 0.0, []
    for _ in range(steps + 1):
        s = (1 + 1 / dim) * math.sinh(norm * length / dim) / (4 * norm)
        path.append(abs(1 - s) * norm)
        length += lr * (1 - s)
    distance = torch.tensor(path, dtype=torch.float64)
    return distance, 1 + (distance.square() - norm**2) / (2 * dim)


def odd_target_bound(dim: int, lr: float, steps: int) -> Tensor:
    """The guaranteed decay ||w(t) - w*|| <= ||w*|| exp(-V t / (4 d)), V = 1 + 1/d, t = lr k; (steps + 1,)."""
    t = lr * torch.arange(steps + 1, dtype=torch.float64)
    return math.sqrt(1.2 * dim) * torch.exp(-(1 + 1 / dim) * t / (4 * dim))


def aligned_mass(target_dim: int) -> float:
    """The mass of positive neurons spread uniformly over the sphere of H that make f(x) = ||x_H|| exactly.

    (1/m) sum_j c_j relu(w_j . x) = ||x_H|| with unit w_j uniform in the d_H dimensions of H needs (1/m) sum_j c_j =
    1 / E[relu(v_1)] = 2 sqrt(pi) Gamma((d_H + 1)/2) / Gamma(d_H / 2), v a uniform unit vector: 2, pi, 4 in 1, 2, 3
    dimensions.

    Source: K. Hajjar and L. Chizat, "Symmetries in the dynamics of wide two-layer neural networks", 2022,
    arXiv:2211.08771.
    """
    return 2 * math.sqrt(math.pi) * math.exp(math.lgamma((target_dim + 1) / 2) - math.lgamma(target_dim / 2))

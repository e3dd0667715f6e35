"""Densities that flow: points and their log-densities, carried along a vector field."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor

from zoo._solvers import integrate

PROBES = ("rademacher", "gaussian")


class PushedField(Protocol):
    """A vector field that takes tangents along."""

    def pushed(self, t: Any, x: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        """f(t, x) of shape (N, d), and the products J(t, x) v of its Jacobian with tangents v of shape (K, N, d)."""
        ...


def basis(x: Tensor) -> Tensor:
    """The tangents of which sum_k v_k . J v_k is the trace: the d unit vectors, (d, 1, d), for all points alike."""
    return torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)[:, None]


def probe(x: Tensor, kind: str, generator: torch.Generator | None = None) -> Tensor:
    """Hutchinson's tangent, one for each point, (1, N, d): E[eps . J eps] = tr J, since E[eps eps^T] = I.

    The variance of eps . J eps, S = (J + J^T) / 2, is 2 ||S||^2 for a Gaussian eps, and without the squares on the
    diagonal of S where eps has signs (Rademacher).
    """
    draw: dict[str, Any] = {"generator": generator, "dtype": x.dtype, "device": x.device}
    if kind == "rademacher":
        return torch.randint(2, (1, *x.shape), **draw) * 2 - 1
    return torch.randn(1, *x.shape, **draw)


def carried(
    field: PushedField, x: Tensor, tangents: Tensor, time: float, steps: int, backward: bool = False
) -> tuple[Tensor, Tensor]:
    """Points carried through dx/dt = f(t, x) from 0 to `time`, or back, by rk4, and the change of their log-density.

        d log p / dt = -tr(df/dx) = -sum_k v_k . J v_k

    along a path, of the density that the flow carries: the integral's sign is that of the direction. x is (N, d), and
    so is the first result; the second is (N,).
    """

    def rates(s: Any, state: Tensor) -> Tensor:
        velocity, products = field.pushed(time - s if backward else s, state[..., :-1], tangents)
        trace = (tangents * products).sum((0, -1)).expand_as(velocity[..., 0])  # of a linear field, one for all
        rate = torch.cat([velocity, -trace[..., None]], -1)
        return -rate if backward else rate

    start = torch.cat([x, torch.zeros_like(x[..., :1])], -1)
    end = integrate(rates, start, (0.0, time), "rk4", time / steps).states[-1]
    return end[..., :-1], end[..., -1]


def log_density(field: PushedField, x: Tensor, tangents: Tensor, time: float, steps: int) -> Tensor:
    """log p(x), (N,), of the standard normal carried through the flow: found by going back to it."""
    z, gained = carried(field, x, tangents, time, steps, backward=True)
    return standard_normal(z) - gained


def standard_normal(z: Tensor) -> Tensor:
    """log N(z; 0, I) of shape (N,) for z of shape (N, d)."""
    return -z.square().sum(-1) / 2 - z.shape[-1] / 2 * math.log(2 * math.pi)


def refuse_dimension(x: Tensor, dim: int) -> None:
    """Raises ValueError where points have another dimension than the density."""
    if x.ndim != 2 or x.shape[1] != dim:
        raise ValueError(
            f"x must be (N, {dim}), points in the {dim} dimensions of the density, got {tuple(x.shape)}: give "
            "in_features the dimension of the data, or leave it out"
        )

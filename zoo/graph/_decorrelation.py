"""Weights of samples under which variables do not depend on each other: what is minimised, and over which pairs."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def standardised(z: Tensor) -> Tensor:
    """Columns of z (N, d) with mean 0 and deviation 1; a constant one is 0."""
    centred = z - z.mean(0)
    deviation = centred.square().mean(0).sqrt()
    return centred / torch.where(deviation > 1e-6, deviation, 1.0)


def fourier(z: Tensor, functions: int) -> Tensor:
    """sqrt(2) cos(w z + phi) (N, d, functions) with fresh w ~ N(0, 1), phi ~ U(0, 2 pi), for each variable its own."""
    w = torch.randn(z.shape[1], functions, device=z.device, dtype=z.dtype)
    phase = 2 * math.pi * torch.rand(z.shape[1], functions, device=z.device, dtype=z.dtype)
    return math.sqrt(2) * (w * z[..., None] + phase).cos()


def apart(clusters: Tensor) -> Tensor:
    """Which pairs i < j of variables lie in different clusters, (d, d)."""
    return (clusters[:, None] != clusters).triu()


def penalty(weights: Tensor, u: Tensor, v: Tensor, clusters: Tensor) -> Tensor:
    """sum over i < j in different clusters of ||Sigma_ij||_F^2, of weights (N,), u and v (N, d, q), clusters (d,).

    Sigma_ij = sum_n w_n (u(z_ni) - mean)^T (v(z_nj) - mean) over sum_n w_n, with means of the same weights: a
    matrix over pairs of functions.
    """
    share = weights / weights.sum()
    a, b = u.flatten(1), v.flatten(1)
    sigma = (share[:, None] * (a - share @ a)).T @ (b - share @ b)
    functions = u.shape[2]
    norms = sigma.square().unflatten(1, (-1, functions)).unflatten(0, (-1, functions)).sum((1, 3))
    return (norms * apart(clusters)).sum()


def normalised(logits: Tensor) -> Tensor:
    """Positive weights with mean 1; of equal logits exactly 1."""
    weights = (logits - logits.max()).exp()
    return weights / weights.mean()


def learned_weights(
    z: Tensor, clusters: Tensor, functions: int, steps: int, rate: float, spread: float, past: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Weights of the last rows of z (N, d), and the penalty before the last step.

    Descent on the mean square of an entry of Sigma and `spread` times the weights' variance, by the logits of B weights
    with B times the rate, from logits 0. `past` are the weights of the rows before them, which stay.
    """
    z = standardised(z)
    past = z.new_ones(0) if past is None else past
    entries = functions**2 * apart(clusters).sum().clamp(min=1)
    logits, value = z.new_zeros(len(z) - len(past)), z.new_zeros(())
    u, v = fourier(z, functions), fourier(z, functions)
    for _ in range(steps):
        logits.requires_grad_()
        weights = normalised(logits)
        value = penalty(torch.cat([past, weights]), u, v, clusters)
        (slope,) = torch.autograd.grad(value / entries + spread * weights.var(correction=0), logits)
        logits = (logits - rate * len(logits) * slope).detach()
    return normalised(logits), value.detach()


def dissimilarity(groups: Tensor, there: Tensor) -> Tensor:
    """How much the correlation of each two variables differs between groups, (d, d).

    The root of the mean square of Pearson's correlation less its mean over groups, of z (G, B, d) with rows `there`
    (G, B); groups of fewer than two rows do not count.
    """
    rows = there.sum(1)
    groups, there = groups[rows > 1], there[rows > 1, :, None].to(groups.dtype)
    centred = (groups - (groups * there).sum(1, keepdim=True) / there.sum(1, keepdim=True)) * there
    norm = centred.square().sum(1, keepdim=True).sqrt()
    unit = centred / torch.where(norm > 1e-6, norm, 1.0)
    correlation = unit.mT @ unit
    return (correlation - correlation.mean(0)).square().mean(0).sqrt()


def clustered(points: Tensor, count: int, rounds: int = 10) -> Tensor:
    """Numbers of at most `count` clusters, (d,), of points (d, m) by k-means.

    The centres begin at the first point and then at whichever is farthest from them, so that nothing is drawn.
    """
    centres = points[:1]
    for _ in range(count - 1):
        farthest = torch.cdist(points, centres).amin(1).argmax()
        centres = torch.cat([centres, points[farthest][None]])
    for _ in range(rounds):
        nearest = torch.cdist(points, centres).argmin(1)
        own = torch.nn.functional.one_hot(nearest, count).to(points.dtype)
        size = own.sum(0)[:, None]
        centres = torch.where(size > 0, own.T @ points / size.clamp(min=1), centres)
    return torch.cdist(points, centres).argmin(1)

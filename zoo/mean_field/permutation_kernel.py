"""Kernels of infinitely wide two-layer ReLU networks, and what they predict for permutations of bits.

The network is f(x) = sum_j a_j relu(w_j . x) with weights of variance 1 / fan_in; t is the angle between x and z.

    random features   K(x, z) = |x| |z| (sin t + (pi - t) cos t) / (2 pi d): the last layer alone is trained
    ntk               K(x, z) + |x| |z| (pi - t) cos t / (2 pi d): both layers, with equal shares

Trained to convergence on inputs X with targets Y, networks that differ in their initial weights are a Gaussian process
with mean A Y and covariance K(x, z) - A K(X, z) - K(x, X) A^T + A K(X, X) A^T, where A = Theta(x, X) Theta(X, X)^-1;
K is the kernel of random features, which is the covariance at initialisation, and Theta either of both.

Source: G. Giapitzakis, A. Back de Luca and K. Fountoulakis, "Exact learning of permutations for nonzero binary inputs
with logarithmic training size and quadratic ensemble complexity", 2025, arXiv:2502.16763; the closed forms for random
features and the shares of exact predictions are derived here in the same way.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

KERNELS = ("ntk", "random_features")


def checked(kernel: str) -> str:
    """The name of a kernel. Raises ValueError where it is none."""
    if kernel not in KERNELS:
        raise ValueError(f"kernel must be {' or '.join(map(repr, KERNELS))}, got {kernel!r}")
    return kernel


def gram(kernel: str, x: Tensor, z: Tensor) -> Tensor:
    """The kernel between the rows of x (N, d) and z (M, d), (N, M); zero where a row is."""
    norms = x.norm(dim=1)[:, None] * z.norm(dim=1)
    cosine = (x @ z.T / norms.clamp(min=torch.finfo(x.dtype).tiny)).clamp(-1, 1)
    return norms * _profile(kernel, cosine.acos()) / x.shape[1]


def _profile(kernel: str, angle: Tensor) -> Tensor:
    active = (math.pi - angle) * angle.cos()
    layers = 2 if checked(kernel) == "ntk" else 1
    return (angle.sin() + layers * active) / (2 * math.pi)


def interpolation(kernel: str, x: Tensor, inputs: Tensor) -> Tensor:
    """A = Theta(x, X) Theta(X, X)^-1, (N, n)."""
    weights: Tensor = torch.linalg.solve(gram(kernel, inputs, inputs), gram(kernel, inputs, x)).T
    return weights


def covariance(kernel: str, x: Tensor, inputs: Tensor) -> Tensor:
    """Covariance over networks of one output at the rows of x, (N, N); outputs are independent of each other."""
    a = interpolation(kernel, x, inputs)
    crossed = a @ gram("random_features", inputs, x)
    return gram("random_features", x, x) - crossed - crossed.T + a @ gram("random_features", inputs, inputs) @ a.T


def permutation_mean(kernel: str, size: int, ones: int) -> tuple[float, float]:
    """The mean at a bit that is one and at a bit that is zero, of networks trained on the basis vectors of R^k.

    With a, b, c the kernel at the angles 0, pi / 2 and arccos n^-1/2, and S = n c + (k - n) b,

        mu_on = (c - b S / (a - b + k b)) / (a - b),   mu_off = (b - b S / (a - b + k b)) / (a - b)

    for an input with n of k ones, of norm 1.
    """
    a, b, c = _profile(kernel, torch.tensor([1.0, 0.0, ones**-0.5], dtype=torch.float64).acos()).tolist()
    shared = b * (ones * c + (size - ones) * b) / (a - b + size * b)
    return (c - shared) / (a - b), (b - shared) / (a - b)


def permutation_deviation(kernel: str, size: int, ones: int) -> float:
    """The standard deviation over networks of each output, at an input with n of k ones: the same for all of them."""
    basis = torch.eye(size, dtype=torch.float64)
    x = basis[:ones].sum(0, keepdim=True) / math.sqrt(ones)
    return math.sqrt(float(covariance(kernel, x, basis)))


def exact_probability(kernel: str, size: int, ones: int, models: Tensor) -> Tensor:
    """The probability that the mean of some networks has all bits of an input right, for each number in `models`.

    Phi(sqrt(M) mu_on / sigma)^n Phi(-sqrt(M) mu_off / sigma)^(k - n)
    """
    on, off = permutation_mean(kernel, size, ones)
    precision = models.double().sqrt() / permutation_deviation(kernel, size, ones)
    right, left = (torch.special.log_ndtr(precision * mean) for mean in (on, -off))
    return (ones * right + (size - ones) * left).exp()


def readout(prediction: Tensor, bits: Tensor) -> dict[str, Tensor]:
    """The mean prediction at bits that are one and at bits that are zero, and the share of inputs with all bits right.

    A bit is read as one where the prediction is positive. Shapes: both (N, k).
    """
    on = (bits > 0.5).to(prediction.dtype)
    means = [(prediction * where).sum() / where.sum().clamp(min=1) for where in (on, 1 - on)]
    right = ((prediction > 0) == (bits > 0.5)).all(-1)
    return {"mean_on": means[0], "mean_off": means[1], "accuracy": right.to(prediction.dtype).mean()}

"""The Mori-Zwanzig equation of a small noisy network: conditional expectations, and how memory decays with layers."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from zoo._checks import at_least, positive
from zoo._module import ZooModule

NODES = 512  # of the quadrature over the interval


class MoriZwanzig(ZooModule):
    """Conditional expectations along noisy units x_n = tanh(w_n x_{n-1} + b_n) + a xi_n, n = 1 … L, by their operators.

        (K_n q)(x) = E[q(x_n) | x_{n-1} = x] = 1 / (2 a) int q(y) dy over |y - tanh(w_n x + b_n)| < a
        E[q(x_L) | x_0 = x] = (K_1 K_2 … K_L q)(x)

    with xi_n uniform on [-1, 1] and `noise` a, so that all states lie in [-1 - a, 1 + a]. There the operators are
    matrices in the first `basis` Legendre polynomials, orthonormal for the uniform distribution; inner integrals are
    exact. With P the projection on the first `rank` polynomials (the mean, for 1) and Q = I - P,

        K_1 … K_L = sum_{m=0}^{L-1} K_1 … K_{L-1-m} P K_{L-m} (Q K_{L-m+1}) … (Q K_L) + (Q K_1) … (Q K_L)

    the discrete Dyson identity: streaming, memory, and what the projection never saw. Nothing is fitted: w_n ~ N(0,
    gain^2) and b_n ~ N(0, 1/4). Tested are, in double precision and spectral norms,

        identity      ||left - right|| / ||left||
        contraction   max_n ||Q K_n||
        decay         the largest ratio of ||(Q K_{L-n}) … (Q K_L)|| for one layer more to that before
        memory        ||(Q K_1) … (Q K_L)||

    where ||Q K_n||^2 <= 1 / a for the mean, whatever the weights: its Hilbert-Schmidt norm. So memory has to decay for
    a > 1. The `loss` is the variance of E[x_L | x_0]: what the last state still owes to the first. The memory norms of
    1 … L layers are recorded. `forward` maps x_0, (N, 1), to E[x_L | x_0], (N, 1). Raises ValueError for a size below
    1, a rank that is not below the basis, and a gain or noise that is not positive.

    Source: D. Venturi and X. Li, "The Mori-Zwanzig formulation of deep learning", Research in the Mathematical
    Sciences, 2023, arXiv:2209.05544.
    """

    exceptions: ClassVar[dict[str, str]] = {
        "gradients": "there is nothing to fit",
        "masks": "its weights are not trained",
    }
    tiny: ClassVar[dict[str, Any]] = {"layers": 3, "basis": 8}
    weight: Tensor
    bias: Tensor
    nodes: Tensor
    shares: Tensor

    def __init__(
        self,
        in_features: int = 1,
        layers: int = 8,
        noise: float = 0.3,
        gain: float = 1.0,
        basis: int = 32,
        rank: int = 1,
    ) -> None:
        super().__init__()
        at_least(1, layers=layers, basis=basis, rank=rank)
        positive(noise=noise, gain=gain)
        if in_features != 1:
            raise ValueError(f"in_features must be 1, a state on a line, got {in_features}")
        if rank >= basis:
            raise ValueError(f"rank must be below the basis, {basis}, got {rank}")
        self.save_hyperparameters()
        self.noise, self.basis, self.rank, self.radius = noise, basis, rank, 1 + noise
        double: Any = {"dtype": torch.float64}
        self.register_buffer("weight", gain * torch.randn(layers, **double))
        self.register_buffer("bias", torch.randn(layers, **double) / 2)
        nodes, shares = np.polynomial.legendre.leggauss(NODES)
        self.register_buffer("nodes", torch.tensor(nodes.tolist(), **double))
        self.register_buffer("shares", torch.tensor((shares / 2).tolist(), **double))

    @property
    def operators(self) -> Tensor:
        """K_1 … K_L in the basis, (L, basis, basis)."""
        centre = torch.tanh(self.weight[:, None] * self.radius * self.nodes + self.bias[:, None])
        above, below = (integrals((centre + side * self.noise) / self.radius, self.basis) for side in (1, -1))
        images = self.radius / (2 * self.noise) * (above - below) * self._norms()
        return (self.shares[:, None] * self._polynomials(self.nodes)).mT @ images

    def _norms(self) -> Tensor:
        return (2 * torch.arange(self.basis, dtype=torch.float64, device=self.nodes.device) + 1).sqrt()

    def _polynomials(self, u: Tensor) -> Tensor:
        """The orthonormal basis at u in [-1, 1], (…, basis)."""
        return legendre(u, self.basis) * self._norms()

    def projection(self) -> Tensor:
        """P, (basis, basis)."""
        kept = torch.arange(self.basis, device=self.nodes.device) < self.rank
        return torch.diag(kept.double())

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros(self.basis, dtype=torch.float64, device=x.device)
        state[1:2] = self.radius / math.sqrt(3)  # q(y) = y
        for operator in self.operators.flip(0):
            state = operator @ state
        return (self._polynomials(x.double() / self.radius) @ state).to(x.dtype)

    def memories(self) -> Tensor:
        """(Q K_{L-n+1}) … (Q K_L) for n = 1 … L, (L, basis, basis)."""
        return memories(self.operators, self.projection())

    def step(self, batch: tuple[Tensor]) -> dict[str, Tensor]:
        operators, projection = self.operators, self.projection()
        whole = reduce(torch.matmul, operators)
        error = torch.linalg.matrix_norm(dyson(operators, projection) - whole, 2)
        left = operators - projection @ operators
        norms = torch.linalg.matrix_norm(self.memories(), 2)
        return {
            "loss": self(batch[0]).double().var(correction=0),
            "identity": error / torch.linalg.matrix_norm(whole, 2),
            "contraction": torch.linalg.matrix_norm(left, 2).max(),
            "decay": (norms[1:] / norms[:-1]).amax() if len(norms) > 1 else norms[0],
            "memory": norms[-1],
        }

    def test_step(self, batch: tuple[Tensor], batch_idx: int) -> None:
        super().test_step(batch, batch_idx)
        self.record("memory", torch.linalg.matrix_norm(self.memories(), 2))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return []


def legendre(u: Tensor, count: int) -> Tensor:
    """P_0 … P_{count - 1} at u, (…, count)."""
    values = [torch.ones_like(u), u]
    for k in range(1, count - 1):
        values.append(((2 * k + 1) * u * values[-1] - k * values[-2]) / (k + 1))
    return torch.stack(values[:count], -1)


def integrals(u: Tensor, count: int) -> Tensor:
    """Antiderivatives of P_0 … P_{count - 1}, up to constants, at u: (P_{k+1} - P_{k-1}) / (2 k + 1), (…, count)."""
    values = legendre(u, count + 1)
    before = torch.nn.functional.pad(values[..., :-2], (1, 0))
    return (values[..., 1:] - before) / (2 * torch.arange(count, dtype=u.dtype, device=u.device) + 1)


def memories(operators: Tensor, projection: Tensor) -> Tensor:
    """The products of Q K of the last n layers, n = 1 … L, for operators (L, d, d)."""
    found: list[Tensor] = []
    for operator in operators.flip(0):
        left = operator - projection @ operator
        found.append(left @ found[-1] if found else left)
    return torch.stack(found)


def dyson(operators: Tensor, projection: Tensor) -> Tensor:
    """The right-hand side of the discrete Dyson identity for operators (L, d, d): their product."""
    unseen = memories(operators, projection)
    total = unseen[-1]
    for m, operator in enumerate(operators.flip(0)):
        after = projection @ operator if m == 0 else projection @ operator @ unseen[m - 1]
        streaming = operators[: len(operators) - 1 - m]
        total = total + (reduce(torch.matmul, streaming) @ after if len(streaming) else after)
    return total

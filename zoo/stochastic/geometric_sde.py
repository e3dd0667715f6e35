"""GeometricSDE: a neural stochastic differential equation whose drift and noise are proportional to the state."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from zoo.stochastic._controlled import ControlledSDE


class GeometricSDE(ControlledSDE):
    """A geometric equation, driven by a series: zero is absorbing, and a positive state stays positive.

        dz / z = gamma(t, C [z, X(t)]) dt + sigma(t) dW,   z(0) = log(1 + exp(A X(0) + a)) > 0

    So it is with the equation: Euler's steps may cross zero where they are large. A ReLU network gamma grows with the
    state and the drift with its square, so that those of the variant `theory` may overflow, too: take small ones, and
    times in units of the `horizon`. In the variant `benchmark` the drift is tanh(gamma tanh(z)) and z(0) has either
    sign. Other arguments, shapes and errors are those of `zoo.stochastic._controlled.ControlledSDE`.

    Source: Y. Oh, D. Lim and S. Kim, "Stable neural stochastic differential equations in analyzing irregular time
    series data", ICLR 2024, arXiv:2402.14989, and the authors' code.
    """

    def z0(self, x: Tensor) -> Tensor:
        z = super().z0(x)
        return z if self.clips else F.softplus(z)

    def drift(self, gamma: Tensor, z: Tensor) -> Tensor:
        return gamma * (z.tanh() if self.clips else z)

    def diffusion(self, sigma: Tensor, z: Tensor) -> Tensor:
        return sigma * z

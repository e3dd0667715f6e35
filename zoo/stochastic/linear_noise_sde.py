"""LinearNoiseSDE: a neural stochastic differential equation whose noise is proportional to the state."""

from __future__ import annotations

from torch import Tensor

from zoo.stochastic._controlled import ControlledSDE


class LinearNoiseSDE(ControlledSDE):
    """An equation with linear noise, driven by a series.

        dz = gamma(t, C [z, X(t)]) dt + sigma(t) z dW

    Arguments, shapes, variants and errors are those of `zoo.stochastic._controlled.ControlledSDE`.

    Source: Y. Oh, D. Lim and S. Kim, "Stable neural stochastic differential equations in analyzing irregular time
    series data", ICLR 2024, arXiv:2402.14989, and the authors' code.
    """

    def diffusion(self, sigma: Tensor, z: Tensor) -> Tensor:
        return sigma * z

"""LangevinSDE: a neural stochastic differential equation whose noise depends on time alone."""

from __future__ import annotations

from typing import ClassVar

from zoo.stochastic._controlled import ControlledSDE


class LangevinSDE(ControlledSDE):
    """A Langevin-type equation, driven by a series: the drift knows time through X alone, the noise time alone.

        dz = gamma(C [z, X(t)]) dt + sigma(t) dW

    Arguments, shapes, variants and errors are those of `zoo.stochastic._controlled.ControlledSDE`.

    Source: Y. Oh, D. Lim and S. Kim, "Stable neural stochastic differential equations in analyzing irregular time
    series data", ICLR 2024, arXiv:2402.14989, and the authors' code.
    """

    reads_time: ClassVar[bool] = False

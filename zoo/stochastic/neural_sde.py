"""NeuralSDE: the naive neural stochastic differential equation, which sees the first observations of a series only."""

from __future__ import annotations

from typing import ClassVar

from zoo.stochastic._controlled import ControlledSDE


class NeuralSDE(ControlledSDE):
    """An equation of two networks that read time and state, and of the series X(0) only: z(0) = A X(0) + a.

        dz = gamma(t, z) dt + sigma(t, z) dW

    X(0) has the first observation of each channel, however late that comes, since the path is that value before it.

    Arguments, shapes, variants and errors are those of `zoo.stochastic._controlled.ControlledSDE`.

    Source: the baseline of Y. Oh, D. Lim and S. Kim, "Stable neural stochastic differential equations in analyzing
    irregular time series data", ICLR 2024, arXiv:2402.14989, and the authors' code.
    """

    reads_series: ClassVar[bool] = False
    noise_reads_state: ClassVar[bool] = True

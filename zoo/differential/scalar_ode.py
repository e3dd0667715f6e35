"""Solvers on scalar equations whose solutions are known."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from zoo._checks import at_least, one_of
from zoo._module import ZooModule
from zoo._solvers import FIXED, check, integrate

EQUATIONS = ("forced", "decay")


class ScalarODE(ZooModule):
    """y' = f(t, y) on [0, 2] by one of the solvers, beside its exact solution, in double precision.

        forced   y' = -y cos t + sin t,   y(2) = exp(-sin 2) (y(0) + int_0^2 sin s exp(sin s) ds)
        decay    y' = -y,                 y(2) = exp(-2) y(0)

    The fixed solvers take `steps` equal steps, dopri5 chooses its own for rtol = atol = `tolerance`. Nothing is
    fitted. Tested are the root of the mean squared error at the end (`error`) and the evaluations of f.

    Shapes: y(0) and y(2) are (N, 1), in double precision. The integral is taken by Gauss's rule of 64 nodes, exact to
    rounding. Raises ValueError for another equation, fewer steps than 1, and what `integrate` refuses.

    Source: E. Hairer, S. P. Norsett and G. Wanner, "Solving ordinary differential equations I: nonstiff problems",
    Springer, 1993, for the orders.
    """

    exceptions: ClassVar[dict[str, str]] = {
        "gradients": "there is nothing to fit",
        "meta": "adaptive steps depend on the states",
    }
    tiny: ClassVar[dict[str, Any]] = {"method": "euler"}
    horizon: ClassVar[float] = 2.0

    def __init__(self, equation: str = "forced", method: str = "rk4", steps: int = 16, tolerance: float = 1e-6) -> None:
        super().__init__()
        one_of(EQUATIONS, equation=equation)
        at_least(1, steps=steps)
        self.save_hyperparameters()
        self.equation, self.method, self.tolerance = equation, method, tolerance
        self.length = self.horizon / steps if method in FIXED else None
        check([0.0, self.horizon], method, self.length, tolerance, tolerance)
        self.register_buffer("end", torch.tensor(self.horizon, dtype=torch.float64))  # a checkpoint is never empty

    def slope(self, t: Any, y: Tensor) -> Tensor:
        """f(t, y)."""
        if self.equation == "decay":
            return -y
        time = torch.as_tensor(t, dtype=y.dtype, device=y.device)
        return time.sin() - y * time.cos()

    def exact(self, y: Tensor) -> Tensor:
        """y(2) of y(0)."""
        if self.equation == "decay":
            return y * math.exp(-self.horizon)
        nodes, weights = np.polynomial.legendre.leggauss(64)
        s = self.horizon * (nodes + 1) / 2
        integral = float(self.horizon / 2 * (weights * np.sin(s) * np.exp(np.sin(s))).sum())
        return math.exp(-math.sin(self.horizon)) * (y + integral)

    def forward(self, y: Tensor) -> Tensor:
        return self._solved(y)[0]

    def _solved(self, y: Tensor) -> tuple[Tensor, int]:
        times, tolerance = [0.0, self.horizon], self.tolerance
        solution = integrate(self.slope, y.double(), times, self.method, self.length, tolerance, tolerance)
        return solution.states[-1], solution.evaluations

    def step(self, batch: tuple[Tensor]) -> dict[str, Tensor]:
        (y,) = batch
        end, evaluations = self._solved(y)
        loss = (end - self.exact(y.double())).square().mean()
        return {"loss": loss, "error": loss.sqrt(), "evaluations": torch.full_like(loss, evaluations)}

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return []

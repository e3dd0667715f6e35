"""Gradients through an ordinary differential equation: by the adjoint equation, and through the solver's own steps."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo._checks import at_least
from zoo._module import ZooModule
from zoo._solvers import FIXED, check, integrate
from zoo.differential._gradients import gradient_of, kept, relative_error

FINE = 1 / 512  # the step of what stands for the truth; dopri5 interpolates at the end, with an error of its own


class CubicField(nn.Module):
    """dy/dt = W_2 tanh(W_1 y^3 + b_1) + b_2, the cube taken of each component."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(features, hidden), nn.Tanh(), nn.Linear(hidden, features))

    def forward(self, t: Any, y: Tensor) -> Tensor:
        out: Tensor = self.network(y**3)
        return out


class AdjointODE(ZooModule):
    """The gradient of a loss of y(1), y' = f(y) with f a small network, by one of two ways, beside the true gradient.

        loss = mean(y(1)^2)
        adjoint                 a' = -a^T df/dy, dloss/dtheta = int a^T df/dtheta dt, solved backward from a(1)
        backpropagation         the chain rule through every step of the solver

    The first keeps one state whatever the number of steps, and solves backward with an error of its own; the second is
    the exact gradient of the discrete solution, and keeps all that its steps computed. Nothing is fitted. Tested are

        gradient_error   sum |g - g*| / sum |g*| over all parameters, g* through 512 steps of rk4
        saved_bytes      what the forward pass keeps for the backward pass, parameters not counted

    In double precision. The fixed solvers take `steps` equal steps, dopri5 its own for rtol = atol = `tolerance`.
    Shapes: y(0) and y(1) are (N, in_features). Raises ValueError for a size below 1 and for what `integrate` refuses.

    Source: R. T. Q. Chen, Y. Rubanova, J. Bettencourt and D. Duvenaud, "Neural ordinary differential equations",
    NeurIPS 2018, arXiv:1806.07366; P. Kidger, "On neural differential equations", 2022, arXiv:2202.02435.
    """

    inference_mode: ClassVar[bool] = False
    exceptions: ClassVar[dict[str, str]] = {
        "gradients": "there is nothing to fit",
        "meta": "the number of steps depends on the states",
    }
    tiny: ClassVar[dict[str, Any]] = {"method": "euler", "adjoint": False}

    def __init__(
        self,
        in_features: int,
        hidden: int = 50,
        method: str = "dopri5",
        adjoint: bool = True,
        steps: int = 16,
        tolerance: float = 1e-6,
    ) -> None:
        super().__init__()
        at_least(1, in_features=in_features, hidden=hidden, steps=steps)
        self.save_hyperparameters()
        self.method, self.adjoint, self.tolerance = method, adjoint, tolerance
        self.length = 1.0 / steps if method in FIXED else None
        check([0.0, 1.0], method, self.length, tolerance, tolerance)
        self.field = CubicField(in_features, hidden).double()

    def forward(self, y: Tensor) -> Tensor:
        tolerance = self.tolerance
        return integrate(
            self.field, y.double(), [0.0, 1.0], self.method, self.length, tolerance, tolerance, self.adjoint
        ).states[-1]

    def step(self, batch: tuple[Tensor]) -> dict[str, Tensor]:
        (y,) = batch
        with torch.enable_grad():
            end, saved = kept(lambda: self(y), self.field)
            exact = integrate(self.field, y.double(), [0.0, 1.0], "rk4", FINE).states[-1]
            gradient, true = (gradient_of(state.square().mean(), self.field) for state in (end, exact))
        error = relative_error(gradient, true)
        return {
            "loss": end.detach().square().mean(),
            "gradient_error": error,
            "saved_bytes": torch.full_like(error, saved),
        }

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return []

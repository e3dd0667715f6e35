"""Solvers on geometric Brownian motion, whose solution along a path is known."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from zoo._checks import at_least, not_negative, number
from zoo._module import ZooModule
from zoo._solvers import SDE, SOLVERS, Increments, check_sde, integrate_sde

CALCULUS = {method: calculus for calculus, methods in SOLVERS.items() for method in methods}


class GeometricBrownianMotion(ZooModule):
    """dX = mu X dt + sigma X dW, X(0) = 1, on [0, 1] by one of the solvers, beside its solution along the same path.

        X(1) = exp(mu - sigma^2 / 2 + sigma W(1))

    with mu = `drift` and sigma = `volatility`, in the sense of Ito. A method for Stratonovich equations solves the same
    one in that form, with the drift mu - sigma^2 / 2. Nothing is fitted. Tested is, over `steps` equal steps, the root
    of the mean squared difference at the end (`error`): the strong error, whose order is the method's.

    Shapes: increments and areas of W over `fine_steps` equal steps are (N, fine_steps, 1), as
    `datamodules.BrownianPaths` draws them, in double precision; X(1) is (N, 1). Raises ValueError for an unknown
    method, steps that do not divide the fine ones, and a volatility below zero.

    Source: P. E. Kloeden and E. Platen, "Numerical solution of stochastic differential equations", Springer, 1992, for
    the orders.
    """

    inference_mode: ClassVar[bool] = False  # milstein differentiates the diffusion
    exceptions: ClassVar[dict[str, str]] = {
        "gradients": "there is nothing to fit",
        "meta": "torchsde compares times",
    }
    tiny: ClassVar[dict[str, Any]] = {"method": "euler", "steps": 8}
    start: Tensor

    def __init__(
        self,
        fine_steps: int,
        method: str = "euler",
        steps: int = 64,
        drift: float = 0.5,
        volatility: float = 0.8,
    ) -> None:
        super().__init__()
        at_least(1, fine_steps=fine_steps, steps=steps)
        number(drift=drift)
        not_negative(volatility=volatility)
        if fine_steps % steps:
            raise ValueError(f"steps must divide the {fine_steps} fine_steps of the path, got {steps}")
        self.save_hyperparameters()
        self.method, self.steps, self.fine_steps, self.mu, self.sigma = method, steps, fine_steps, drift, volatility
        check_sde(self.equation(), [0.0, 1.0], method, 1 / steps)
        self.register_buffer("start", torch.ones(1, dtype=torch.float64))  # a checkpoint is never empty

    def equation(self) -> SDE:
        """The equation in the sense that the method has; an unknown one is left to be refused."""
        calculus = CALCULUS.get(self.method, "ito")
        rate = self.mu - (self.sigma**2 / 2 if calculus == "stratonovich" else 0.0)
        return SDE(lambda _t, x: rate * x, lambda _t, x: self.sigma * x, calculus)

    def exact(self, increments: Tensor) -> Tensor:
        """X(1) of the increments, (N, fine_steps, 1)."""
        return (self.mu - self.sigma**2 / 2 + self.sigma * increments.sum(1)).exp()

    def forward(self, increments: Tensor, areas: Tensor) -> Tensor:
        fine = Increments(increments.transpose(0, 1), areas.transpose(0, 1))
        noise = fine.coarsened(self.fine_steps // self.steps, 1 / self.fine_steps)
        start = self.start.expand_as(increments[:, 0])
        return integrate_sde(self.equation(), start, [0.0, 1.0], self.method, 1 / self.steps, noise).states[-1]

    def inputs(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return batch

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        loss = (self(*batch) - self.exact(batch[0])).square().mean()
        return {"loss": loss, "error": loss.sqrt()}

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return []

"""Gradients through a stochastic differential equation by its adjoint, beside those of the solver's own steps."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo._checks import at_least
from zoo._module import ZooModule
from zoo._solvers import SDE, check_sde, integrate_sde
from zoo.differential._gradients import gradient_of, kept, relative_error


class Perceptron(nn.Module):
    """W_2 tanh(W_1 y + b_1) + b_2 of a state (N, d), in the given shape behind N."""

    def __init__(self, features: int, hidden: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(features, hidden), nn.Tanh(), nn.Linear(hidden, features))
        self.shape = shape

    def forward(self, t: Any, y: Tensor) -> Tensor:
        out: Tensor = self.network(y).unflatten(-1, self.shape)
        return out


class AdjointSDE(ZooModule):
    """The gradient of a loss of y(1), dy = f(y) dt + g(y) o dW, by the adjoint equation and by the solver's steps.

        loss = mean(y(1)^2)
        adjoint                 da = -a^T df/dy dt - a^T dg/dy o dW, backward from a(1) along the same path of W
        through the steps       the chain rule: the exact gradient of the discrete solution

    in the sense of Stratonovich, with small random networks f and g and one Brownian motion for all components of a
    state, so that all three methods (heun, midpoint, reversible_heun) converge with order 1. Nothing is fitted. Tested
    are, in double precision and with `steps` equal steps,

        gradient_error                  sum |a - s| / sum |s| over all parameters: adjoint a, through the steps s
        saved_bytes, saved_by_steps     what autograd keeps for each, without parameters and the path's increments

    The steps of reversible_heun are undone exactly, so that its adjoint is the gradient of its steps to rounding.
    Shapes: y(0) and y(1) are (N, in_features). Raises ValueError for a size below 1 and what `integrate_sde` refuses.

    Source: P. Kidger, J. Foster, X. Li and T. Lyons, "Efficient and accurate gradients for neural SDEs", NeurIPS 2021,
    arXiv:2105.13493.
    """

    inference_mode: ClassVar[bool] = False
    exceptions: ClassVar[dict[str, str]] = {
        "gradients": "there is nothing to fit",
        "meta": "the path of Brownian motion is drawn on the device",
        "export": "torchsde draws the path",
    }
    tiny: ClassVar[dict[str, Any]] = {"hidden": 4, "steps": 2}

    def __init__(self, in_features: int, hidden: int = 20, method: str = "reversible_heun", steps: int = 16) -> None:
        super().__init__()
        at_least(1, in_features=in_features, hidden=hidden, steps=steps)
        self.save_hyperparameters()
        drift = Perceptron(in_features, hidden, (in_features,))
        diffusion = Perceptron(in_features, hidden, (in_features, 1))
        self.sde = SDE(drift, diffusion, "stratonovich", "scalar").double()
        self.method, self.length = method, 1 / steps
        check_sde(self.sde, [0.0, 1.0], method, self.length, adjoint=True)

    def forward(self, y: Tensor, noise: int = 0, adjoint: bool = True) -> Tensor:
        return integrate_sde(
            self.sde, y.double(), [0.0, 1.0], self.method, self.length, noise=noise, adjoint=adjoint
        ).states[-1]

    def step(self, batch: tuple[Tensor]) -> dict[str, Tensor]:
        (y,) = batch
        path = int(torch.randint(2**31 - 1, ()))
        with torch.enable_grad():
            end, saved = kept(lambda: self(y, path), self.sde)
            reference, saved_by_steps = kept(lambda: self(y, path, adjoint=False), self.sde)
            gradient, true = (gradient_of(state.square().mean(), self.sde) for state in (end, reference))
        error = relative_error(gradient, true)
        return {
            "loss": end.detach().square().mean(),
            "gradient_error": error,
            "saved_bytes": torch.full_like(error, saved),
            "saved_by_steps": torch.full_like(error, saved_by_steps),
        }

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return []

"""What is measured of a trained equilibrium: how it is reached, and whether its gradient is right."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.differential import DeepEquilibrium
from zoo.differential._fixed_point import SOLVERS, Solver, equilibrium

DEEP = 400  # applications that reach the equilibrium to rounding: 0.9^400 is 5e-19


class Convergence(pl.Callback):
    """How a DeepEquilibrium reaches the equilibria of the test split, and the error of its implicit gradient.

    At the end of the test the trained layer, whatever the model's own solver and depth, gives

        test/gradient_error          of the loss's gradient for all parameters, by implicit differentiation as the model
                                     is, relative to backpropagation through 400 applications in float64
        test/gradient_error_float64  the same of implicit differentiation in float64, at the tolerance 1e-12
        test/backward_residual       of the gradient's own fixed point, the largest of all samples
        test/evaluations_SOLVER      of the layer until the model's tolerance is met, by each solver

    and records the residuals along the way, NaN after the end, as `forward_SOLVER` and `backward_SOLVER`, (steps,), and
    the accuracy when one stops after 1, 2, …, `steps` applications, `accuracy_at`. Raises ValueError for fewer than one
    step, and for other models.
    """

    def __init__(self, steps: int = 60) -> None:
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        self.steps = steps

    def refusal(self, model: pl.LightningModule, data: pl.LightningDataModule) -> str:
        """Why this model cannot be measured; nothing where it can."""
        return "" if isinstance(model, DeepEquilibrium) else f"{type(model).__name__} has no equilibrium"

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        with torch.inference_mode(False), torch.enable_grad():
            x, labels = (tensor.clone() for tensor in data.tensors("test"))
            single, double = alike(pl_module).to(x.device), alike(pl_module).to(x.device).double()
            exact = gradient(double, x.double(), labels, None)
            precise = gradient(double, x.double(), labels, Solver(tolerance=1e-12))
            scalars = {
                "gradient_error": _relative(gradient(single, x, labels, pl_module.solver), exact),
                "gradient_error_float64": _relative(precise, exact),
                "backward_residual": single.found["backward"].residuals[-1],
            }
            for method in SOLVERS:
                own = pl_module.solver
                gradient(single, x, labels, Solver(method, own.tolerance, own.max_iterations, own.memory))
                scalars[f"evaluations_{method}"] = float(single.found["forward"].iterations)
                for way, found in single.found.items():
                    pl_module.record(f"{way}_{method}", self._padded(found.residuals))
            pl_module.record("accuracy_at", self._accuracies(single, x, labels))
        for name, value in scalars.items():
            pl_module.log(f"test/{name}", value)

    def _padded(self, residuals: tuple[float, ...]) -> Tensor:
        shown = torch.tensor(residuals[: self.steps])
        return F.pad(shown, (0, self.steps - len(shown)), value=torch.nan)

    @torch.no_grad()
    def _accuracies(self, model: DeepEquilibrium, x: Tensor, labels: Tensor) -> Tensor:
        f, z, found = model.cell(x.flatten(1)), x.new_zeros(len(x), len(model.recurrent)), []
        for _ in range(self.steps):
            z = f(z)
            found.append((model.head(z).argmax(1) == labels).float().mean())
        return torch.stack(found)


def alike(model: Any) -> DeepEquilibrium:
    """A model of the same arguments and weights, apart from any trainer."""
    made = DeepEquilibrium(**model.hparams)
    made.load_state_dict(model.state_dict())
    return made


def gradient(model: DeepEquilibrium, x: Tensor, labels: Tensor, solver: Solver | None) -> Tensor:
    """The gradient of the cross-entropy for all parameters, in a row; without a solver, through 400 applications."""
    f, z = model.cell(x.flatten(1)), x.new_zeros(len(x), len(model.recurrent))
    if solver is not None:
        z = equilibrium(f, z, solver, model.found.__setitem__)
    else:
        for _ in range(DEEP):
            z = f(z)
    loss = nn.functional.cross_entropy(model.head(z), labels)
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))])


def _relative(found: Tensor, exact: Tensor) -> float:
    return float((found.to(exact) - exact).norm() / exact.norm())

"""DeepEquilibrium: a classifier of one layer that is applied until nothing changes any more."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo._checks import at_least, fraction, not_negative, positive
from zoo._module import ZooModule
from zoo._scores import scores
from zoo.differential._fixed_point import FixedPoint, Map, Solver, equilibrium, residual


class DeepEquilibrium(ZooModule):
    """A classifier whose hidden state is the fixed point of one layer.

        z* = tanh(W z* + U x + b),   W = contraction V / max(1, ||V||_2),   logits = C z* + c

    The layer is a contraction of z by at most `contraction` < 1 in the 2-norm, so that there is one fixed point, and
    plain iteration reaches it. The gradient is that of the fixed point (implicit differentiation): memory does not grow
    with the iterations. With a `depth` the layer is applied that often to z = 0 instead, and differentiated step by
    step: the weight-tied network whose limit this is.

    Shapes: x is (N, …) with in_features numbers for each sample, logits are (N, num_classes). `step` gives
    cross-entropy and accuracy, and of the forward solution the largest residual ||f(z) - z|| / ||f(z)|| of a sample and
    the evaluations of the layer; training logs those of the backward one, too. Trained by Adam.

    Raises ValueError for a size below 1, a contraction outside (0, 1), and what the solver refuses; ArithmeticError,
    with residual and iterations, where a fixed point is not reached within `max_iterations`, forward or backward.

    Source: S. Bai, J. Z. Kolter and V. Koltun, "Deep equilibrium models", NeurIPS 2019, arXiv:1909.01377. Deliberate
    differences: a fully connected layer, its spectral norm bounded, and Anderson's acceleration in place of Broyden's
    method.
    """

    tiny: ClassVar[dict[str, Any]] = {"hidden_features": 6}
    exceptions: ClassVar[dict[str, str]] = {
        "export": "how often the layer is applied depends on the data",
        "meta": "whether the residual is small enough depends on the data",
        "second derivatives": "the implicit gradient is found by iteration",
    }

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        hidden_features: int = 64,
        contraction: float = 0.9,
        depth: int = 0,
        solver: str = "anderson",
        tolerance: float = 1e-6,
        max_iterations: int = 200,
        lr: float = 3e-3,
    ) -> None:
        super().__init__()
        at_least(1, in_features=in_features, num_classes=num_classes, hidden_features=hidden_features)
        not_negative(depth=depth)
        fraction(contraction=contraction)
        if contraction == 1:
            raise ValueError("contraction must be below 1, got 1: a map that does not contract may have no fixed point")
        positive(lr=lr)
        self.save_hyperparameters()
        self.solver = Solver(solver, tolerance, max_iterations)
        self.contraction, self.depth, self.lr = contraction, depth, lr
        self.recurrent = nn.Parameter(torch.randn(hidden_features, hidden_features) / (2 * hidden_features**0.5))
        self.injection = nn.Linear(in_features, hidden_features)
        self.head = nn.Linear(hidden_features, num_classes)
        self.found: dict[str, FixedPoint] = {}  # the last fixed points, "forward" and "backward"

    def cell(self, x: Tensor) -> Map:
        """The layer as a map of z, (N, hidden_features), for given inputs (N, in_features)."""
        weight = self.contraction * self.recurrent / torch.linalg.matrix_norm(self.recurrent, 2).clamp(min=1)
        injected = self.injection(x)
        return lambda z: torch.tanh(torch.addmm(injected, z, weight.T))

    def hidden(self, x: Tensor) -> Tensor:
        """z*, or what `depth` applications make of 0: (N, hidden_features)."""
        f = self.cell(x)
        z = torch.zeros(len(x), len(self.recurrent), dtype=x.dtype, device=x.device)
        if not self.depth:
            return equilibrium(f, z, self.solver, self.found.__setitem__)
        return self._applied(f, z)

    def _applied(self, f: Map, z: Tensor) -> Tensor:
        residuals = []
        for _ in range(self.depth):
            before, z = z, f(z)
            residuals.append(residual((z - before).detach(), z.detach()))
        self.found["forward"] = FixedPoint(before.detach(), tuple(torch.stack(residuals).tolist()))
        return z

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x.flatten(1)))

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        x, labels = batch
        return {**scores(self(x), labels), **self._report("forward", x)}

    def _report(self, name: str, like: Tensor) -> dict[str, Tensor]:
        found, prefix = self.found[name], "" if name == "forward" else f"{name}_"
        values = {"residual": found.residuals[-1], "iterations": float(found.iterations)}
        return {f"{prefix}{key}": torch.tensor(value, device=like.device) for key, value in values.items()}

    def on_after_backward(self) -> None:
        if "backward" in self.found:
            z = self.found["backward"].z
            self.log_scalars("train", self._report("backward", z), len(z))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)

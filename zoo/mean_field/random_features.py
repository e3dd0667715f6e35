"""Random features in a box, with output weights by least squares."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo._module import ZooModule


class RandomFeatures(ZooModule):
    """f(x) = sum_j c_j sigmoid(w_j . x + b_j), of which the c_j alone are fitted.

    w_j and b_j are drawn uniformly from [-bound, bound]: the band to which the weights are limited. Of the c_j, the
    least-squares solution of least norm is taken in which singular values below rcond times the largest count as 0.

    Shapes: x is (N, d) and f(x) is (N,), in the dtype of x; y is (N,). Weights, features and the fit are float64
    always: smooth features are nearly dependent, and their singular values span more decades than float32 has.

    Fitted in one epoch, after which the training ends, whatever the trainer was told. A batch adds its rows to the
    triangular factor R of [H, y], H_nj = sigmoid(w_j . x_n + b_j), by a QR decomposition of R stacked on them, so
    that R^T R = [H, y]^T [H, y] at the cost of no digit: normal equations would square the condition number. The
    singular values of H are those of R without its last column.

    The loss is mean((f(x) - y)^2). Raises ValueError for a size below 1, a bound that is not positive, and a cut-off
    outside [0, 1).

    Source: M. Li, S. Sonoda, F. Cao, Y. G. Wang and J. Liang, "How powerful are shallow neural networks with
    bandlimited random weights?", 2023, arXiv:2008.08427. Cut-off and QR are ours.
    """

    exceptions: ClassVar[dict[str, str]] = {"gradients": "solved in closed form"}
    tiny: ClassVar[dict[str, Any]] = {"features": 8}
    weight: Tensor
    bias: Tensor
    factor: Tensor

    def __init__(self, in_features: int, features: int = 100, bound: float = 1.0, rcond: float = 1e-12) -> None:
        super().__init__()
        for name, value in {"in_features": in_features, "features": features}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not bound > 0:
            raise ValueError(f"bound must be positive, got {bound}")
        if not 0 <= rcond < 1:
            raise ValueError(f"rcond must be in [0, 1), got {rcond}")
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.rcond = rcond
        exact = torch.float64
        self.register_buffer("weight", torch.empty(features, in_features, dtype=exact).uniform_(-bound, bound))
        self.register_buffer("bias", torch.empty(features, dtype=exact).uniform_(-bound, bound))
        self.register_buffer("factor", torch.zeros(features + 1, features + 1, dtype=exact))
        self.output = nn.Parameter(torch.zeros(features, dtype=exact), requires_grad=False)  # solved for

    def hidden(self, x: Tensor) -> Tensor:
        """H of shape (N, features)."""
        return torch.sigmoid(x.to(self.weight.dtype) @ self.weight.T + self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return (self.hidden(x) @ self.output).to(x.dtype)

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        x, y = batch
        return {"loss": (self(x) - y).square().mean()}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.gather(*batch)

    def gather(self, x: Tensor, y: Tensor) -> None:
        """Adds a batch's rows to what the output weights will be solved from."""
        rows = torch.cat([self.hidden(x), y.to(self.factor.dtype)[:, None]], dim=1)
        self.factor.copy_(torch.linalg.qr(torch.cat([self.factor, rows]), mode="r").R)

    def solve(self) -> None:
        """Sets the output weights from all that was gathered."""
        left, singular, right = torch.linalg.svd(self.factor[:, :-1], full_matrices=False)
        inverse = torch.where(singular > self.rcond * singular[0], 1 / singular, 0)
        self.output.copy_(right.T @ (inverse * (left.T @ self.factor[:, -1])))

    def on_train_epoch_end(self) -> None:
        self.solve()
        self.trainer.should_stop = True

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return []

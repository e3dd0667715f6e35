"""Ensembles of two-layer ReLU networks, trained together."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from zoo._module import ZooModule
from zoo.mean_field.permutation_kernel import readout


class ReLUEnsemble(ZooModule):
    """f(x) = (1/M) sum_e f_e(x), f_e(x) = V_e relu(W_e x + b_e) + c_e: the mean of M independent networks.

    Shapes: x is (N, d), W is (M, m, d), V is (M, out_features, m), f(x) is (N, out_features). Standard parametrisation:
    the weights have variance weight_std^2 / fan_in, the biases start at zero and are trained.

    The loss is the mean over networks of each one's mean squared error, and SGD steps by M * lr: every network descends
    on its own error with step lr. With one step size for all weights, the last layer's share of the tangent kernel
    exceeds the first one's by m / d, so that wide networks are random-feature regressions (InfiniteReLUEnsemble with
    kernel "random_features"), not those of the tangent kernel with equal shares. Full-batch descent is stable below

        lr < N * out_features / (m * lambda_max)

    for N training samples, lambda_max being the largest eigenvalue of the random-features kernel K(X, X).

    Raises ValueError for a size below 1 and for a step or deviation that is not positive.

    Source: G. Giapitzakis, A. Back de Luca and K. Fountoulakis, "Exact learning of permutations for nonzero binary
    inputs with logarithmic training size and quadratic ensemble complexity", 2025, arXiv:2502.16763.
    """

    vectorizes = True
    initial = ("weight_std",)
    tiny = {"width": 8, "members": 2}

    def __init__(
        self,
        in_features: int,
        out_features: int,
        width: int = 4000,
        members: int = 100,
        weight_std: float = 1.0,
        lr: float = 0.1,
    ) -> None:
        super().__init__()
        sizes = {"in_features": in_features, "out_features": out_features, "width": width, "members": members}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name, positive in {"weight_std": weight_std, "lr": lr}.items():
            if not positive > 0:
                raise ValueError(f"{name} must be positive, got {positive}")
        self.save_hyperparameters()
        self.lr = lr
        self.w = nn.Parameter(torch.randn(members, width, in_features) * weight_std / math.sqrt(in_features))
        self.b = nn.Parameter(torch.zeros(members, 1, width))
        self.v = nn.Parameter(torch.randn(members, out_features, width) * weight_std / math.sqrt(width))
        self.c = nn.Parameter(torch.zeros(members, 1, out_features))

    def members(self, x: Tensor) -> Tensor:
        """The output of each network, (M, N, out_features)."""
        return torch.relu(x @ self.w.mT + self.b) @ self.v.mT + self.c

    def forward(self, x: Tensor) -> Tensor:
        return self.members(x).mean(0)

    def predictors(self, x: Tensor, count: int, generator: torch.Generator) -> Iterator[Tensor]:
        """The outputs of the first `count` networks, in one block of shape (count, N, out_features); M at most."""
        yield self.members(x)[:count]

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        x, y = batch
        members = self.members(x)
        return {"loss": (members - y).square().mean(), **readout(members.mean(0), y)}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=len(self.w) * self.lr)

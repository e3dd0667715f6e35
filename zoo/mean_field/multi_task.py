"""A two-layer ReLU network whose first layer serves many tasks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from zoo._module import ZooModule


class MultiTaskReLU(ZooModule):
    """f_t(x) = a_t . relu(W x + b) + c_t: one representation, a linear head for each of T binary tasks.

    Shapes: x is (N, d), W is (m, d), f(x) is (N, T), labels ±1. The loss is log(1 + exp(-y_t f_t(x))), averaged over
    samples and tasks. W starts with independent entries of standard deviation scale / sqrt(d), everything else at zero.

    With `subspace`, the rows of W start in the span of the first `subspace` coordinates. Untrained, the network is then
    a random-feature map of the true subspace of tasks that see these coordinates alone; without it, of all dimensions.
    As b starts at zero, such features are homogeneous: standardised ones do not depend on `scale`, and what is linear
    in them is an even function plus a linear one.

    Trained by Adam on all parameters together, where the paper's algorithm updates the heads before the representation.

    Raises ValueError for a size, scale or step below its least value, and for a subspace that is not one of R^d.

    Source: L. Collins, H. Hassani, M. Soltanolkotabi, A. Mokhtari and S. Shakkottai, "Provable multi-task
    representation learning by two-layer ReLU neural networks", 2024, arXiv:2307.06887.
    """

    vectorizes = True
    initial = ("scale", "subspace")
    tiny = {"width": 8}

    def __init__(
        self,
        in_features: int,
        tasks: int,
        width: int = 128,
        scale: float = 0.1,
        subspace: int | None = None,
        lr: float = 2e-3,
    ) -> None:
        super().__init__()
        for name, value in {"in_features": in_features, "tasks": tasks, "width": width}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name, positive in {"scale": scale, "lr": lr}.items():
            if not positive > 0:
                raise ValueError(f"{name} must be positive, got {positive}")
        if subspace is not None and not 1 <= subspace <= in_features:
            raise ValueError(f"subspace must be between 1 and in_features = {in_features}, got {subspace}")
        self.save_hyperparameters()
        self.lr = lr
        self.first, self.heads = nn.Linear(in_features, width), nn.Linear(width, tasks)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        nn.init.normal_(self.first.weight, std=scale / math.sqrt(in_features))
        if subspace is not None:
            self.first.weight.data[:, subspace:] = 0

    def features(self, x: Tensor) -> Tensor:
        """The representation relu(W x + b), (N, m)."""
        return torch.relu(self.first(x))

    def alignment(self, directions: int) -> Tensor:
        """The share of ||W||^2 that lies in the first `directions` coordinates."""
        energy = self.first.weight.square().sum(0)
        return energy[:directions].sum() / energy.sum()

    def forward(self, x: Tensor) -> Tensor:
        return self.heads(self.features(x))

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        x, y = batch
        margin = y * self(x)
        return {"loss": nn.functional.softplus(-margin).mean(), "accuracy": (margin > 0).float().mean()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)

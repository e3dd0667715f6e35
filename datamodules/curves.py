"""Functions of one variable: points to interpolate, and a target to approximate."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from datamodules._arrays import ArrayDataModule
from datamodules._spec import Field, Spec


class InterpolationPoints(ArrayDataModule):
    """Six points in the plane through which a network is to draw a curve, always all of them at once.

        u = (-1, -0.6, -0.2, 0.2, 0.6, 1),   y = (0.5, -0.5, 0.8, -0.2, 0.4, -0.6),   x = (u, 1)

    The constant 1 gives a network without bias its bias. The derivative of any curve through the points has a total
    variation of at least 19.5: that of the slopes -2.5, 3.25, -2.5, 1.5, -2.5 of the straight lines between them.

    A batch is (x, y) of shapes (6, 2) and (6,), the same in training and test. An epoch counts `steps_per_epoch` of
    them. Raises ValueError for fewer than one step.
    """

    seeded = False
    locations: ClassVar[tuple[float, ...]] = (-1.0, -0.6, -0.2, 0.2, 0.6, 1.0)
    values: ClassVar[tuple[float, ...]] = (0.5, -0.5, 0.8, -0.2, 0.4, -0.6)

    def __init__(self, steps_per_epoch: int = 500, seed: int = 0) -> None:
        super().__init__(len(self.locations), seed)
        if steps_per_epoch < 1:
            raise ValueError(f"steps_per_epoch must be at least 1, got {steps_per_epoch}")
        self.save_hyperparameters()
        self.steps_per_epoch = steps_per_epoch

    @property
    def spec(self) -> Spec:
        sizes = {"train": len(self.locations), "test": len(self.locations)}
        return Spec((Field((2,)), Field()), {"in_features": 2}, sizes, "1")

    def load(self, split: str) -> tuple[Tensor, ...]:
        return self.inputs(torch.tensor(self.locations)), torch.tensor(self.values)

    @staticmethod
    def inputs(locations: Tensor) -> Tensor:
        """x = (u, 1) of shape (N, 2) for locations u of shape (N,)."""
        return torch.stack([locations, torch.ones_like(locations)], dim=1)

    @property
    def length(self) -> int:
        return self.steps_per_epoch

    def order(self, epoch: int) -> Tensor:
        """All points in their order, once a step: gradient descent on the whole set, on every rank."""
        return torch.arange(self.batch_size, device=self.device).repeat(self.steps_per_epoch)


class ThreeBumps(ArrayDataModule):
    """A wide bump and two narrow ones on the unit interval, without noise.

        y(x) = 0.2 exp(-(10 x - 4)^2) + 0.5 exp(-(80 x - 40)^2) + 0.3 exp(-(80 x - 20)^2)

    Training takes `size` equidistant points of [0, 1], test 20,001 of them, the same for every seed: a narrow bump
    fills 2 % of the interval, so that fewer random points would measure their own number on it.

    A batch is (x, y) of shapes (B, 1) and (B,), in float64: the data reach a model as they are, whatever the
    trainer's precision, and a fit whose singular values span twelve decades needs them exact. Raises ValueError for
    fewer than two points.
    """

    seeded = False
    eval_batch_size = 20_001

    def __init__(self, size: int = 1000, batch_size: int = 1000, seed: int = 0) -> None:
        super().__init__(batch_size, seed)
        if size < 2:
            raise ValueError(f"size must be at least 2, got {size}")
        self.save_hyperparameters()
        self.size = size

    @property
    def spec(self) -> Spec:
        batch = (Field((1,), torch.float64), Field((), torch.float64))
        return Spec(batch, {"in_features": 1}, {"train": self.size, "test": 20_001}, "1")

    def load(self, split: str) -> tuple[Tensor, ...]:
        x = torch.linspace(0, 1, self.spec.sizes[split], dtype=torch.float64)
        return x[:, None], self.target(x)

    @staticmethod
    def target(x: Tensor) -> Tensor:
        """y at x, of any shape."""
        wide = 0.2 * torch.exp(-((10 * x - 4) ** 2))
        return wide + 0.5 * torch.exp(-((80 * x - 40) ** 2)) + 0.3 * torch.exp(-((80 * x - 20) ** 2))

"""Brownian motion on a fine grid, for solvers of stochastic equations that are to see the same path."""

from __future__ import annotations

import torch
from torch import Tensor

from datamodules._arrays import StreamDataModule
from datamodules._spec import Field, Spec


class BrownianPaths(StreamDataModule):
    """Paths of `dim` Brownian motions W on [0, 1], by what they do over each of `fine_steps` equal steps of length h.

        increments   W(t_{k+1}) - W(t_k) = w ~ N(0, h)
        areas        int_{t_k}^{t_{k+1}} (W(s) - W(t_k)) ds = h w / 2 + a,   a ~ N(0, h^3 / 12) independent of w

    A batch is (increments, areas), both (B, fine_steps, dim) and in double precision. There is no validation split; an
    epoch counts `steps_per_epoch` batches of fresh paths, and those of the test, one batch of `test_size`, are drawn
    once. Raises ValueError for a size below 1.
    """

    def __init__(
        self,
        dim: int = 1,
        fine_steps: int = 64,
        batch_size: int = 256,
        steps_per_epoch: int = 1,
        test_size: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        sizes = {"dim": dim, "fine_steps": fine_steps, "steps_per_epoch": steps_per_epoch, "test_size": test_size}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.save_hyperparameters()
        self.dim, self.fine_steps = dim, fine_steps
        self.sizes = {"train": steps_per_epoch, "val": 0, "test": test_size}

    @property
    def spec(self) -> Spec:
        path = Field((self.fine_steps, self.dim), torch.float64)
        return Spec((path, path), {"dim": self.dim, "fine_steps": self.fine_steps}, self.sizes, "1")

    def sample(self, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        shape, h = (2, size, self.fine_steps, self.dim), 1 / self.fine_steps
        normal = torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float64)
        increments = h**0.5 * normal[0]
        return increments, h / 2 * increments + (h**3 / 12) ** 0.5 * normal[1]

"""Points with closed-form targets, drawn fresh: the population risk."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from datamodules._arrays import StreamDataModule, generator
from datamodules._spec import Field, Spec


class OddTarget(StreamDataModule):
    """Gaussian inputs with an odd cubic target.

        x ~ N(0, I/d),   y = C sum_k z_k x_k^3,   z ~ N(0, I/d),   C = sqrt(2 d^3 / 15) / ||z||

    so that E[y^2] / 2 = 1. The best linear predictor is w* . x with w* = sqrt(6 d / 5) z / ||z||, and its
    population loss E[(y - w* . x)^2] / 2 is 0.4 in every dimension. The direction z belongs to the seed.

    A batch is (x, y) of shapes (B, d) and (B,). An epoch counts `steps_per_epoch` batches of fresh samples.

    Source: K. Hajjar and L. Chizat, "Symmetries in the dynamics of wide two-layer neural networks", 2022,
    arXiv:2211.08771.
    """

    citation: ClassVar[str] = """\
@misc{hajjar2022symmetries,
  author = {Karl Hajjar and Lénaïc Chizat},
  title = {{Symmetries in the dynamics of wide two-layer neural networks}},
  year = {2022},
  eprint = {2211.08771},
  archiveprefix = {arXiv},
  url = {https://arxiv.org/abs/2211.08771}
}"""

    def __init__(
        self,
        dim: int = 20,
        batch_size: int = 512,
        steps_per_epoch: int = 100,
        val_size: int = 10_000,
        test_size: int = 10_000,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        for name, value in {"dim": dim, "steps_per_epoch": steps_per_epoch, "test_size": test_size}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.save_hyperparameters()
        self.dim = dim
        self.sizes = {"train": steps_per_epoch, "val": val_size, "test": test_size}
        normal = torch.randn(dim, generator=generator(seed, "train", 0, 2**31), dtype=torch.float64)
        self.direction = normal / normal.norm()

    @property
    def spec(self) -> Spec:
        return Spec((Field((self.dim,)), Field()), {"in_features": self.dim}, self.sizes, "1")

    @property
    def best_linear(self) -> Tensor:
        """w*, of shape (d,)."""
        return (math.sqrt(1.2 * self.dim) * self.direction).float()

    def sample(self, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        x = torch.randn(size, self.dim, generator=generator, device=generator.device) / math.sqrt(self.dim)
        scale = math.sqrt(2 * self.dim**3 / 15)
        return x, x**3 @ (scale * self.direction).to(x)

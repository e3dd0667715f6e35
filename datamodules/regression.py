"""Regression between vectors: maps of many small steps, to be learned by networks of many layers."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from datamodules._arrays import ArrayDataModule, generator
from datamodules._spec import Field, Spec


class OscillatingFlow(ArrayDataModule):
    """Points of a cube and where n steps with an oscillating coefficient carry them, both scaled to unit length.

        z_0 ~ U(-1, 1)^d,   z_{t+1} = z_t + n^{-1/2} tanh(sin(5 pi t / n) z_t + cos(5 pi t / n)),   t = 0 … n - 1
        x = z_0 / ||z_0||,   y = z_n / ||z_n||

    The step is n^{-1/2}, so that this is no Euler scheme of a differential equation. The points belong to the seed;
    they are carried in float64.

    A batch is (x, y) of shapes (B, d), float32. Raises ValueError for a size below 1.

    Source: Cohen, Cont, Rossier and Xu, "Scaling properties of deep residual networks", ICML 2021, arXiv:2105.12245,
    and the authors' code; the validation split is ours.
    """

    citation: ClassVar[str] = """\
@inproceedings{cohen2021scaling,
  author = {Alain-Sam Cohen and Rama Cont and Alain Rossier and Renyuan Xu},
  title = {{Scaling Properties of Deep Residual Networks}},
  booktitle = {ICML},
  year = {2021},
  eprint = {2105.12245},
  archiveprefix = {arXiv},
  url = {https://arxiv.org/abs/2105.12245}
}"""

    def __init__(
        self,
        dim: int = 10,
        steps: int = 100,
        train_size: int = 1024,
        val_size: int = 256,
        test_size: int = 256,
        batch_size: int = 32,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        sizes = {"train_size": train_size, "val_size": val_size, "test_size": test_size}
        for name, value in {"dim": dim, "steps": steps, **sizes}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.save_hyperparameters()
        self.dim, self.steps = dim, steps
        self.sizes = {"train": train_size, "val": val_size, "test": test_size}

    @property
    def spec(self) -> Spec:
        return Spec((Field((self.dim,)), Field((self.dim,))), {"in_features": self.dim}, self.sizes, "1")

    def load(self, split: str) -> tuple[Tensor, ...]:
        size = (self.sizes[split], self.dim)
        start = 2 * torch.rand(size, generator=generator(self.seed, split, 0, 2**31), dtype=torch.float64) - 1
        x, y = (torch.nn.functional.normalize(points, dim=1).float() for points in (start, self.carried(start)))
        return x, y

    def carried(self, z: Tensor) -> Tensor:
        """z_n of z_0, of any shape."""
        for t in range(self.steps):
            angle = 5 * math.pi * t / self.steps
            z = z + torch.tanh(math.sin(angle) * z + math.cos(angle)) / math.sqrt(self.steps)
        return z

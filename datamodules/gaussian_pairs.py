"""Pairs of independent Gaussian vectors: nothing to generalise, all to fit."""

from __future__ import annotations

import torch
from torch import Tensor

from datamodules._arrays import ArrayDataModule, generator
from datamodules._spec import Field, Spec


class GaussianPairs(ArrayDataModule):
    """Inputs and targets that have nothing to do with each other, always all of them at once.

        x_i, y_i ~ N(0, I_d) independent,   i = 1 … n = `size`

    For what training does to a network, not for what the network then knows: the same pairs serve training and test.

    A batch is (x, y) of shapes (n, d) and (n, d). An epoch counts `steps_per_epoch` of them. Raises ValueError for a
    size or a number of steps below 1.

    Source: P. Marion, Y.-H. Wu, M. E. Sander and G. Biau, "Implicit regularization of deep residual networks towards
    neural ODEs", ICLR 2024, arXiv:2309.01213.
    """

    def __init__(self, dim: int = 16, size: int = 100, steps_per_epoch: int = 50, seed: int = 0) -> None:
        for name, value in {"dim": dim, "size": size, "steps_per_epoch": steps_per_epoch}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        super().__init__(size, seed)
        self.save_hyperparameters()
        self.dim, self.size, self.steps_per_epoch = dim, size, steps_per_epoch

    @property
    def spec(self) -> Spec:
        fields = Field((self.dim,)), Field((self.dim,))
        return Spec(fields, {"in_features": self.dim}, {"train": self.size, "test": self.size}, "1")

    def load(self, split: str) -> tuple[Tensor, ...]:
        drawn = torch.randn(2, self.size, self.dim, generator=generator(self.seed, "train", 0))
        return drawn[0], drawn[1]

    @property
    def length(self) -> int:
        return self.steps_per_epoch

    def order(self, epoch: int) -> Tensor:
        """All pairs in their order, once a step: gradient descent on the whole set, on every rank."""
        return torch.arange(self.size, device=self.device).repeat(self.steps_per_epoch)

"""Points beside a plane that separates two classes, with a given density near it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from datamodules._arrays import SPLITS, ArrayDataModule
from datamodules._spec import Field, Spec


class BoundaryPoints(ArrayDataModule):
    """Gaussian points with label y = sign(x_1), where the density of x_1 vanishes as |x_1|^chi at the boundary.

        p(x_1) ~ |x_1|^chi exp(-x_1^2 / 2),   x_2, …, x_d ~ N(0, 1),   y = ±1

    so that |x_1| has the chi distribution with chi + 1 degrees of freedom, E x_1^2 = chi + 1, and the nearest of P
    points lies at a distance of order P^(-1 / (1 + chi)). chi = 0 is the Gaussian.

    A batch is (x, y) of shapes (B, d) and (B,); the training split, of `size` points, is one batch.
    Raises ValueError for dim < 2, a size below 1, and chi <= -1, where the density cannot be normalised.

    Source: A. Sclocchi, M. Geiger and M. Wyart, "Dissecting the Effects of SGD Noise in Distinct Regimes of Deep
    Learning", 2023, arXiv:2301.13703 (their perceptron's data).
    """

    def __init__(self, size: int = 512, dim: int = 64, chi: float = 1.0, test_size: int = 10_000, seed: int = 0):
        for name, value, least in (("size", size, 1), ("dim", dim, 2), ("test_size", test_size, 1)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if not chi > -1:
            raise ValueError(f"chi must be above -1, where |x_1|^chi can be normalised, got {chi}")
        super().__init__(batch_size=size, seed=seed)
        self.save_hyperparameters()
        self.size, self.dim, self.chi, self.test_size = size, dim, chi, test_size

    @property
    def spec(self) -> Spec:
        sizes = {"train": self.size, "test": self.test_size}
        return Spec((Field((self.dim,)), Field()), {"in_features": self.dim}, sizes, "1")

    def load(self, split: str) -> tuple[Tensor, ...]:
        count = self.size if split == "train" else self.test_size
        random = np.random.default_rng([self.seed, SPLITS.index(split)])
        x = random.standard_normal((count, self.dim))
        x[:, 0] = np.sqrt(2 * random.standard_gamma((self.chi + 1) / 2, count)) * random.choice([-1.0, 1.0], count)
        return torch.from_numpy(x).float(), torch.from_numpy(np.sign(x[:, 0])).float()

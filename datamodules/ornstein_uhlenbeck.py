"""Paths of the Ornstein-Uhlenbeck process as series."""

from __future__ import annotations

import torch
from torch import Tensor

from datamodules._arrays import ArrayDataModule, generator
from datamodules._spec import Field, Spec


class OrnsteinUhlenbeck(ArrayDataModule):
    """Paths by Euler's method, X_{k+1} = X_k + theta (mu - X_k) h + sigma sqrt(h) xi_k, X_0 = `start`, h = T / length.

    A batch is (values, mask, times): (B, length, 1), the same of booleans, all true, and (B, length), equidistant from
    0 to 1. At step k the process has mean mu + (X_0 - mu) (1 - theta h)^k and variance

        sigma^2 h (1 - a^k) / (1 - a),   a = (1 - theta h)^2

    Raises ValueError for a size below 1, a length below 2, a horizon that is not positive, and theta or sigma below 0.

    Source: the tutorial of Y. Oh, D. Lim and S. Kim, "Stable neural stochastic differential equations in analyzing
    irregular time series data", ICLR 2024, arXiv:2402.14989: 800 paths to train and 200 to test. The validation split
    is ours.
    """

    def __init__(
        self,
        theta: float = 0.2,
        mu: float = 0.0,
        sigma: float = 0.1,
        start: float = 1.0,
        horizon: float = 10.0,
        length: int = 20,
        train_size: int = 800,
        val_size: int = 200,
        test_size: int = 200,
        batch_size: int = 16,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        sizes = {"train_size": train_size, "val_size": val_size, "test_size": test_size}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if length < 2:
            raise ValueError(f"length must be at least 2, got {length}")
        if not horizon > 0:
            raise ValueError(f"horizon must be positive, got {horizon}")
        for name, rate in {"theta": theta, "sigma": sigma}.items():
            if not rate >= 0:
                raise ValueError(f"{name} must not be negative, got {rate}")
        self.save_hyperparameters()
        self.theta, self.mu, self.sigma, self.start = theta, mu, sigma, start
        self.h, self.observations = horizon / length, length
        self.sizes = {"train": train_size, "val": val_size, "test": test_size}

    @property
    def spec(self) -> Spec:
        shape = (self.observations, 1)
        fields = (Field(shape), Field(shape, torch.bool), Field((self.observations,)))
        return Spec(fields, {"in_channels": 1}, self.sizes, "1")

    def load(self, split: str) -> tuple[Tensor, ...]:
        size = self.sizes[split]
        noise = torch.randn(self.observations, size, 1, generator=generator(self.seed, split, 0, 2**31))
        x = [torch.full((size, 1), self.start)]
        for xi in noise[1:]:
            x.append(x[-1] + self.theta * (self.mu - x[-1]) * self.h + self.sigma * self.h**0.5 * xi)
        values, times = torch.stack(x, 1), torch.linspace(0, 1, self.observations)
        return values, torch.ones_like(values, dtype=torch.bool), times.repeat(size, 1)

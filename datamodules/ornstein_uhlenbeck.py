"""Paths of the Ornstein-Uhlenbeck process as series."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from datamodules._paths import Paths, not_negative


class OrnsteinUhlenbeck(Paths):
    """Paths by Euler's method, X_{k+1} = X_k + theta (mu - X_k) h + sigma sqrt(h) xi_k, X_0 = `start`, h = T / length.

    A batch is (values, mask, times): (B, length, 1), the same of booleans, all true, and (B, length), equidistant from
    0 to 1. At step k the process has mean mu + (X_0 - mu) (1 - theta h)^k and variance

        sigma^2 h (1 - a^k) / (1 - a),   a = (1 - theta h)^2

    Raises ValueError for a size below 1, a length below 2, a horizon that is not positive, and theta or sigma below 0;
    for a number that is not finite, and for theta so large that the steps would grow without bound, theta h > 2.

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
        super().__init__({"train": train_size, "val": val_size, "test": test_size}, length, horizon, batch_size, seed)
        not_negative(theta=theta, sigma=sigma)
        for name, value in {"mu": mu, "start": start}.items():
            if not math.isfinite(value):
                raise ValueError(f"{name} must be finite, got {value}")
        self.save_hyperparameters()
        self.theta, self.mu, self.sigma, self.start = theta, mu, sigma, start
        self.h = horizon / length
        if theta * self.h > 2:
            raise ValueError(
                f"theta must be at most 2 length / horizon = {2 / self.h:g} for steps to settle, got {theta}"
            )

    @property
    def grid(self) -> Tensor:
        return torch.linspace(0, 1, self.observations)

    def walked(self, noise: Tensor) -> Tensor:
        x = [torch.full_like(noise[0], self.start)]
        for xi in noise[1:]:
            x.append(x[-1] + self.theta * (self.mu - x[-1]) * self.h + self.sigma * self.h**0.5 * xi)
        return torch.stack(x, 1)

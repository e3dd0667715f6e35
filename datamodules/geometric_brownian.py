"""Paths of geometric Brownian motion as series."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from datamodules._paths import Paths, not_negative


class GeometricBrownianPaths(Paths):
    """Paths of dX = mu X dt + sigma X dW, X(0) = `start`, sampled from their law, without an error of steps.

        X(t) = start exp((mu - sigma^2 / 2) t + sigma W(t))
        E X(t) = start e^(mu t),   Var X(t) = start^2 e^(2 mu t) (e^(sigma^2 t) - 1)

    A batch is (values, mask, times): (B, length, 1), the same of booleans, all true, and (B, length), equidistant from
    0 to `horizon`. Raises ValueError for a size below 1, a length below 2, a horizon or start that is not positive, and
    sigma below 0.

    Source: P. E. Kloeden and E. Platen, "Numerical solution of stochastic differential equations", Springer, 1992.
    """

    def __init__(
        self,
        mu: float = 0.5,
        sigma: float = 0.8,
        start: float = 1.0,
        horizon: float = 1.0,
        length: int = 20,
        train_size: int = 800,
        val_size: int = 200,
        test_size: int = 200,
        batch_size: int = 16,
        seed: int = 0,
    ) -> None:
        super().__init__({"train": train_size, "val": val_size, "test": test_size}, length, horizon, batch_size, seed)
        not_negative(sigma=sigma)
        if not 0 < start < math.inf:
            raise ValueError(f"start must be positive and finite, got {start}")
        if not math.isfinite(mu):
            raise ValueError(f"mu must be finite, got {mu}")
        self.save_hyperparameters()
        self.mu, self.sigma, self.start = mu, sigma, start

    def walked(self, noise: Tensor) -> Tensor:
        steps = noise[1:] * self.grid.diff().sqrt()[:, None, None]
        motion = torch.cat([torch.zeros_like(noise[:1]), steps.cumsum(0)]).transpose(0, 1)
        return self.start * ((self.mu - self.sigma**2 / 2) * self.grid[:, None] + self.sigma * motion).exp()

"""What data modules of a process's paths share: all paths are observed at the same equidistant times."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from datamodules._arrays import ArrayDataModule, generator
from datamodules._spec import Field, Spec
from datamodules._times import Times


class Paths(ArrayDataModule):
    """Paths of a process in one dimension as series (values, mask, times), every value observed.

    A subclass gives `walked(noise)`, the paths of standard normal numbers, and may give `grid`, their times. Raises
    ValueError for a size below 1, a length below 2, and a horizon that is not positive or not finite.
    """

    def __init__(self, sizes: Mapping[str, int], length: int, horizon: float, batch_size: int, seed: int) -> None:
        super().__init__(batch_size, seed)
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name}_size must be at least 1, got {value}")
        if length < 2:
            raise ValueError(f"length must be at least 2, got {length}")
        if not 0 < horizon < math.inf:
            raise ValueError(f"horizon must be positive and finite, got {horizon}")
        self.sizes, self.observations, self.horizon = sizes, length, horizon

    def walked(self, noise: Tensor) -> Tensor:
        """Values (N, T, 1) of noise (T, N, 1), of which the first row may be left out."""
        raise NotImplementedError(f"{type(self).__name__} walks nowhere")

    @property
    def grid(self) -> Tensor:
        """The times, (T,)."""
        return torch.linspace(0, self.horizon, self.observations)

    @property
    def spec(self) -> Spec:
        shape = (self.observations, 1)
        fields = (Field(shape), Field(shape, torch.bool), Times((self.observations,)))
        return Spec(fields, {"in_channels": 1}, self.sizes, "1")

    def load(self, split: str) -> tuple[Tensor, ...]:
        size = self.sizes[split]
        noise = torch.randn(self.observations, size, 1, generator=generator(self.seed, split, 0, 2**31))
        values = self.walked(noise)
        return values, torch.ones_like(values, dtype=torch.bool), self.grid.repeat(size, 1)


def not_negative(**rates: float) -> None:
    """Raises ValueError naming the first rate that is below zero, or not finite."""
    for name, rate in rates.items():
        if not 0 <= rate < math.inf:
            raise ValueError(f"{name} must be finite and not negative, got {rate}")

"""Initial states for simulations: fresh, uniform in a cube."""

from __future__ import annotations

import torch
from torch import Tensor

from datamodules._arrays import StreamDataModule
from datamodules._spec import Field, Spec


class InitialStates(StreamDataModule):
    """States drawn uniformly from [low, high]^dim: where a simulation starts.

    A batch is (y,) of shape (B, dim). There is no validation split; an epoch counts `steps_per_epoch` batches of fresh
    states, and the states of the test are drawn once. Raises ValueError for a size below 1 and for an interval without
    a length.
    """

    def __init__(
        self,
        dim: int = 1,
        low: float = -1.0,
        high: float = 1.0,
        batch_size: int = 256,
        steps_per_epoch: int = 1,
        test_size: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        for name, value in {"dim": dim, "steps_per_epoch": steps_per_epoch, "test_size": test_size}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not low < high:
            raise ValueError(f"low must be less than high, got low = {low} and high = {high}")
        self.save_hyperparameters()
        self.dim, self.low, self.high = dim, low, high
        self.sizes = {"train": steps_per_epoch, "val": 0, "test": test_size}

    @property
    def spec(self) -> Spec:
        return Spec((Field((self.dim,)),), {"dim": self.dim, "in_features": self.dim}, self.sizes, "1")

    def sample(self, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        uniform = torch.rand(size, self.dim, generator=generator, device=generator.device)
        return (self.low + (self.high - self.low) * uniform,)

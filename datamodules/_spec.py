"""Spec: what a data module knows of its batches before it loads anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Field:
    """One tensor of a batch: the shape of a single sample and its dtype; `classes` bounds integer labels."""

    shape: tuple[int, ...] = ()
    dtype: torch.dtype = torch.float32
    classes: int | None = None

    def example(self, batch_size: int, device: str) -> Tensor:
        shape = (batch_size, *self.shape)
        if device == "meta":
            return torch.empty(shape, dtype=self.dtype, device=device)
        generator = torch.Generator().manual_seed(0)
        if self.dtype.is_floating_point:
            return torch.randn(shape, generator=generator, dtype=self.dtype).to(device)
        return torch.randint(self.classes or 2, shape, generator=generator, dtype=self.dtype).to(device)


@dataclass(frozen=True)
class Spec:
    """Shapes and sizes of a data set.

    batch: the tensors of a batch, in order.
    arguments: values for model arguments of the same name that a configuration leaves out.
    sizes: samples (or batches of a stream) per split.
    version: changes whenever the same settings yield other data.
    """

    batch: tuple[Field, ...]
    arguments: Mapping[str, Any]
    sizes: Mapping[str, int]
    version: str

    def example(self, batch_size: int = 2, device: str = "meta") -> Any:
        """A batch of these shapes: empty on the meta device, fixed random numbers elsewhere."""
        return tuple(f.example(batch_size, device) for f in self.batch)

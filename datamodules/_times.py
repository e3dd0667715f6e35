"""The times of a series as a field of a batch."""

from __future__ import annotations

from torch import Tensor

from datamodules._spec import Field


class Times(Field):
    """Times that increase, in examples too: there from 0 to 1."""

    def example(self, batch_size: int, device: str) -> Tensor:
        times = super().example(batch_size, device)
        return times if device == "meta" else times.softmax(-1).cumsum(-1)

"""Series that are observed at irregular times, some of their values missing: one type for all data modules of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class IrregularSeries:
    """N series of C channels at T times each: values (N, T, C), a mask (N, T, C) of what was observed, times (N, T).

    What the mask leaves out is no observation, and is zero here whatever it was. A series of fewer than T times is
    filled up at its end with later times at which nothing was observed. In a batch the three come in this order, as
    `tensors`, before the labels.

    Raises ValueError for shapes that do not fit, times that do not increase, and values that were observed but are not
    finite.
    """

    values: Tensor
    mask: Tensor
    times: Tensor

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or self.mask.shape != self.values.shape or self.times.shape != self.values.shape[:2]:
            shapes = [tuple(t.shape) for t in self.tensors]
            raise ValueError(f"values, mask and times must be (N, T, C), (N, T, C) and (N, T), got {shapes}")
        if self.mask.dtype != torch.bool:
            raise ValueError(f"mask must be boolean, got {self.mask.dtype}")
        if not bool((later := self.times.diff(dim=1) > 0).all()):
            series, k = (~later).nonzero()[0].tolist()
            raise ValueError(
                f"times must increase strictly: in series {series}, times[{k + 1}] = {self.times[series, k + 1]:g} "
                f"follows {self.times[series, k]:g}"
            )
        if bool((bad := self.mask & ~self.values.isfinite()).any()):
            series, k, channel = bad.nonzero()[0].tolist()
            raise ValueError(
                f"values must be finite where the mask says that they were observed: series {series}, time {k}, "
                f"channel {channel} is {self.values[series, k, channel]}; mask it to leave it out"
            )
        object.__setattr__(self, "values", torch.where(self.mask, self.values, 0.0))

    @classmethod
    def with_gaps(cls, values: Tensor, times: Tensor) -> IrregularSeries:
        """Series whose missing values are NaN."""
        return cls(values, ~values.isnan(), times)

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """What a batch holds: values, mask, times."""
        return self.values, self.mask, self.times

    def thinned(self, rate: float, generator: torch.Generator, whole: bool = False) -> IrregularSeries:
        """The series with a share `rate` of its values lost at random, each alone or, if `whole`, all channels at once.

        Of n observations round(rate n) are lost in every series and channel, never the first; if `whole`, of n times at
        which anything was observed.
        """
        if not 0 <= rate < 1:
            raise ValueError(f"rate must lie in [0, 1), got {rate}")
        there = self.mask.any(-1, keepdim=True) if whole else self.mask
        count = there.sum(1, keepdim=True)
        first = there & (there.cumsum(1) == 1)
        score = torch.rand(there.shape, generator=generator).masked_fill(~there | first, torch.inf)
        lost = score.argsort(1).argsort(1) < torch.minimum((rate * count).round(), count - 1)
        return IrregularSeries(self.values, self.mask & ~lost, self.times)

"""What all solvers share: times and the steps between them, a state with its time, and what a solution is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from zoo._checks import positive

#: dy/dt at a time, which is a float or a tensor without axes, and a state.
Field = Callable[[Any, Tensor], Tensor]


@dataclass
class Evaluations:
    """How often a field was evaluated."""

    count: int = 0


@dataclass(frozen=True)
class Solution:
    """States (T, *shape) at the times asked for, the first of them the initial value.

    `divergence`, of a stochastic equation beside a prior, is that of the paths up to each time, (T, *shape[:-1]).
    """

    states: Tensor
    counted: Evaluations
    divergence: Tensor | None = None

    @property
    def evaluations(self) -> int:
        """Evaluations of the field, or of the drift, so far: those of the adjoint too, after a backward pass."""
        return self.counted.count


def with_time(t: Any, y: Tensor) -> Tensor:
    """The state with the time as its last component, (..., d + 1): what a field that depends on time reads."""
    return torch.cat([y, t * torch.ones_like(y[..., :1])], -1)


def check_times(times: Sequence[float], step: float | None) -> None:
    """Raises ValueError for times that do not increase, and for a step that is not positive or longer than them all."""
    if len(times) < 2:
        raise ValueError(f"times must be at least two, got {list(times)}")
    for k, (before, after) in enumerate(pairwise(times)):
        if not -math.inf < before < after < math.inf:
            raise ValueError(f"times must increase strictly: times[{k + 1}] = {after:g} follows {before:g}")
    if step is None:
        return
    positive(step=step)
    if step > (times[-1] - times[0]) * (1 + 1e-9):
        raise ValueError(f"step must be at most the interval, {times[-1] - times[0]:g}, got {step:g}")


def grid(times: Sequence[float], step: float | None, jumps: Sequence[float] = ()) -> list[list[float]]:
    """For each two successive times, in either direction, the ends of the equal steps that lie between them."""
    found = []
    for start, end in pairwise(times):
        low, high = min(start, end), max(start, end)
        stops = [low, *sorted(t for t in set(jumps) if low < t < high), high]
        ends = [low]
        for a, b in pairwise(stops):
            count = 1 if step is None else max(1, math.ceil((b - a) / step - 1e-6))
            ends += [a + (b - a) * k / count for k in range(1, count)] + [b]
        found.append(ends if start < end else ends[::-1])
    return found

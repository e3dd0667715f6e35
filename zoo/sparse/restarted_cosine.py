"""A cosine schedule of the learning rate that warms up again after every restart."""

from __future__ import annotations

import math

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from zoo._checks import at_least


class RestartedCosine(LRScheduler):
    """The learning rate of step t = 0, 1, …, T - 1, as a multiple of the optimiser's own:

        t / W                                           for t < W = first_warmup
        c(t) = m + (1 - m) (1 + cos(pi (t - W) / (T - W))) / 2        after that, with m = min_ratio
        (t - s) / w * c(s + w)                          in the w = restart_warmup steps after a restart at step s

    Restarts are at all multiples of `every` below T; without `every` there are none. The rate is zero in the first
    step after a restart, and rises linearly to the cosine. T is total_steps, and a benchmark that leaves it null fills
    it in.

    Raises ValueError for total_steps or every below 1, negative warm-ups, one that is not shorter than a period, and
    min_ratio outside [0, 1]. A training that is shorter than its first warm-up ends within it.

    Source: V. Lialin, N. Shivagunde, S. Muckatira and A. Rumshisky, "ReLoRA: High-Rank Training Through Low-Rank
    Updates", 2023, arXiv:2307.05695.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int | None = None,
        first_warmup: int = 0,
        every: int | None = None,
        restart_warmup: int = 0,
        min_ratio: float = 0.1,
    ) -> None:
        if total_steps is None:
            raise ValueError("total_steps is missing: give the number of optimiser steps")
        at_least(1, total_steps=total_steps, every=total_steps if every is None else every)
        at_least(0, first_warmup=first_warmup, restart_warmup=restart_warmup)
        for name, steps in {"first_warmup": first_warmup, "restart_warmup": restart_warmup}.items():
            if every is not None and steps >= every:
                raise ValueError(f"{name} must be less than every = {every}, got {steps}")
        if not 0 <= min_ratio <= 1:
            raise ValueError(f"min_ratio must lie in [0, 1], got {min_ratio}")
        self.total_steps, self.first_warmup, self.min_ratio = total_steps, first_warmup, min_ratio
        self.every, self.restart_warmup = every, restart_warmup
        super().__init__(optimizer)

    def ratio(self, step: int) -> float:
        """The rate of a step in parts of the optimiser's own."""
        if step < self.first_warmup:
            return step / self.first_warmup
        since = step % self.every if self.every else step
        if self.every and step >= self.every and since < self.restart_warmup:
            return since / self.restart_warmup * self._cosine(step - since + self.restart_warmup)
        return self._cosine(step)

    def _cosine(self, step: int) -> float:
        done = min(1.0, (step - self.first_warmup) / max(1, self.total_steps - self.first_warmup))
        return self.min_ratio + (1 - self.min_ratio) * (1 + math.cos(math.pi * done)) / 2

    def get_lr(self) -> list[float | Tensor]:
        return [rate * self.ratio(self.last_epoch) for rate in self.base_lrs]

"""Brownian motion: increments, given or drawn, and an interval that makes them again for an adjoint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Increments:
    """What Brownian motion W does over each of S steps, (S, *shape), and the areas under it, which srk needs.

    steps[k] = W(t_{k+1}) - W(t_k),   areas[k] = int_{t_k}^{t_{k+1}} (W(s) - W(t_k)) ds
    """

    steps: Tensor
    areas: Tensor | None = None

    def coarsened(self, factor: int, length: float) -> Increments:
        """The same motion over steps that are `factor` times as long; these are of the length given.

            W = sum_j w_j,   A = sum_j (a_j + length sum_{i < j} w_i)

        Raises ValueError for a factor that does not divide the number of steps.
        """
        if factor < 1 or len(self.steps) % factor:
            raise ValueError(f"factor must divide the {len(self.steps)} steps, got {factor}")
        steps = self.steps.unflatten(0, (-1, factor))
        if self.areas is None:
            return Increments(steps.sum(1))
        before = steps.cumsum(1) - steps
        return Increments(steps.sum(1), (self.areas.unflatten(0, (-1, factor)) + length * before).sum(1))


#: Increments of the steps to be taken (a tensor, or with areas), the seed of a path, or none: torch's generator draws.
Noise = Increments | Tensor | int | None


def drawn(noise: Noise, lengths: Sequence[float], shape: torch.Size, like: Tensor) -> Iterable[Tensor]:
    """The increment of each step, of `shape`, one after another."""
    if isinstance(noise, Tensor | Increments):
        return given(noise, (len(lengths), *shape), like).steps.unbind()
    if noise is None:
        normal = (torch.randn(shape, device=like.device, dtype=like.dtype) for _ in lengths)
    else:
        path = interval(noise, len(lengths), shape, like)
        normal = (path(number, number + 1) for number in range(len(lengths)))
    return (unit if length == 1 else unit * length**0.5 for unit, length in zip(normal, lengths, strict=True))


def in_units(noise: Noise, lengths: Sequence[float], shape: torch.Size, like: Tensor, area: bool) -> Any:
    """Brownian motion over the index of the step, in torchsde's form: each step has length 1."""
    if not isinstance(noise, Tensor | Increments):
        return interval(int(torch.randint(2**31 - 1, ())) if noise is None else noise, len(lengths), shape, like, area)
    increments = given(noise, (len(lengths), *shape), like)
    if area and increments.areas is None:
        raise ValueError("noise must hold areas beside its steps for srk: give Increments(steps, areas)")
    return _Steps(increments, torch.tensor(lengths, dtype=like.dtype, device=like.device))


def given(noise: Tensor | Increments, shape: tuple[int, ...], like: Tensor) -> Increments:
    """The increments of all steps; raises ValueError where they or their areas have another shape or dtype."""
    increments = noise if isinstance(noise, Increments) else Increments(noise)
    if len(increments.steps) != shape[0]:
        raise ValueError(f"noise must hold an increment for each of {shape[0]} steps, got {len(increments.steps)}")
    for part in (increments.steps, increments.areas):
        if part is not None and (tuple(part.shape), part.dtype) != (shape, like.dtype):
            raise ValueError(f"noise must be {shape} of {like.dtype}, got {tuple(part.shape)} of {part.dtype}")
    return increments


def interval(seed: int, count: int, shape: torch.Size, like: Tensor, area: bool = False) -> Any:
    """torchsde's Brownian interval over `count` steps: a tree of seeds, which gives what an adjoint asks for again.

    Its cache is not bounded, and holds an increment a step: a bounded one costs more time than all else in a solution.
    """
    from torchsde import BrownianInterval

    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"noise must be increments or a seed of at least 0, got {seed!r}")

    return BrownianInterval(
        0.0,
        float(count),
        size=tuple(shape),
        dtype=like.dtype,
        device=like.device,
        entropy=seed,
        dt=1.0,
        cache_size=None,
        levy_area_approximation="space-time" if area else "none",
    )


class _Steps:
    """Given increments over the index of the step, for a library that asks for one step at a time."""

    def __init__(self, given: Increments, lengths: Tensor) -> None:
        scale = lengths.sqrt().view(-1, *[1] * (given.steps.ndim - 1))
        self._steps = (given.steps / scale).unbind()
        self._areas = None if given.areas is None else (given.areas / scale**3).unbind()
        self.shape, self.dtype, self.device = given.steps.shape[1:], given.steps.dtype, given.steps.device
        self.levy_area_approximation = "none" if given.areas is None else "space-time"

    def __call__(self, ta: Any, tb: Any = None, return_U: bool = False, return_A: bool = False) -> Any:
        index = int(ta)
        if ta != index or tb != index + 1 or return_A:
            raise NotImplementedError(f"increments are given for whole steps, not from {ta} to {tb}")
        if not return_U:
            return self._steps[index]
        assert self._areas is not None
        return self._steps[index], self._areas[index]


class Widened:
    """A path with one more channel, in which nothing happens."""

    def __init__(self, path: Any) -> None:
        self._path = path
        self.shape = (*path.shape[:-1], path.shape[-1] + 1)
        self.dtype, self.device = path.dtype, path.device
        self.levy_area_approximation = path.levy_area_approximation

    def __call__(self, ta: Any, tb: Any = None, return_U: bool = False, return_A: bool = False) -> Any:
        found = self._path(ta, tb, return_U=return_U, return_A=return_A)
        return tuple(F.pad(part, (0, 1)) for part in found) if isinstance(found, tuple) else F.pad(found, (0, 1))

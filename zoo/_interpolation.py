"""Paths through series that were observed at irregular times, some of their values missing: whole batches at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo._checks import one_of

INTERPOLATIONS = ("linear", "rectilinear", "hermite", "natural")


@dataclass(frozen=True)
class Path:
    """X: [0, K] -> R^D for each of N series, in K pieces that are polynomials.

        X(k + u) = sum_i c_i[k] u^i,   0 <= u < 1,   c_i of shape (K, N, D)

    The parameter is the index of a knot, not the time, which is the first of the D channels: so series with times of
    their own share their knots, and are integrated together. What is driven by a path, dz = f(z) dX, does not depend on
    how fast the path is followed: z at a knot is what it would be with time as the parameter.
    """

    coefficients: tuple[Tensor, ...]

    @property
    def pieces(self) -> int:
        return len(self.coefficients[0])

    def _place(self, s: float) -> tuple[int, float]:
        k = min(max(int(s), 0), self.pieces - 1)
        return k, s - k

    def value(self, s: float) -> Tensor:
        """X(s), (N, D)."""
        k, u = self._place(s)
        return _polynomial([c[k] for c in self.coefficients], u)

    def derivative(self, s: float) -> Tensor:
        """dX/ds, (N, D): at a knot that of the piece after it."""
        k, u = self._place(s)
        return _polynomial([i * c[k] for i, c in enumerate(self.coefficients)][1:], u)

    def values(self, u: float) -> Tensor:
        """X(k + u) in all pieces k at once, (K, N, D)."""
        return _polynomial(self.coefficients, u)

    def derivatives(self, u: float) -> Tensor:
        """dX/ds at k + u in all pieces k at once, (K, N, D)."""
        return _polynomial([i * c for i, c in enumerate(self.coefficients)][1:], u)


def _polynomial(coefficients: Sequence[Tensor], u: float) -> Tensor:
    """c_0 + c_1 u + c_2 u^2 + …"""
    total = coefficients[-1]
    for c in coefficients[-2::-1]:
        total = c + u * total
    return total


def interpolate(values: Tensor, mask: Tensor, times: Tensor, kind: str = "linear") -> Path:
    """The path of (t, x_1, …, x_C) through the values (N, T, C) that the mask (N, T, C) has, at times (N, T).

    `linear`: a line between any two successive observations of a channel; T - 1 pieces.
    `rectilinear`: first the time moves on, then the values jump to what was observed, in pieces of their own; a missing
        value is the last one before it, or 0. No value is known before its time; 2 (T - 1) pieces.
    `hermite`: the cubic whose slope at a knot is that of the line from the knot before (after the first knot, of the
        line to the next): once differentiable in time, and known one knot ahead. Gaps are first filled linearly.
    `natural`: of each channel, the cubic spline through its observations, without curvature at both ends: twice
        differentiable in time; every value bears on the whole path.

    Before its first observation a channel has the value of that (for rectilinear, 0), after its last one the value of
    the last; a channel that was never observed is 0. After the last time at which anything was observed the path stands
    still, time included: what a series is filled up with has no influence.

    Raises ValueError for another kind and for fewer than two times.
    """
    one_of(INTERPOLATIONS, interpolation=kind)
    if times.shape[1] < 2:
        raise ValueError(f"a path needs at least two times, got {times.shape[1]}")
    values = torch.where(mask, values, 0.0)
    # Piece k is followed if anything was observed at a later knot than k
    followed = mask.any(-1).flip(1).cummax(1).values.flip(1)[:, 1:, None]
    if kind == "rectilinear":
        return _rectilinear(_held(values, mask), times, followed)
    if kind == "natural":
        return _natural(values, mask, times, followed)
    filled = _filled(values, mask, times, followed)
    slopes = _backward_slopes(filled, times) if kind == "hermite" else None
    return _through(filled, slopes, times, followed)


def _path(times: Tensor, coefficients: tuple[Tensor, ...], followed: Tensor) -> Path:
    """The path of (t, x) from x's coefficients (N, K, C), which stands still in pieces that are not followed."""
    t = times[..., None]
    own = (t[:, :-1], t.diff(dim=1), *(torch.zeros_like(t[:, :-1]) for _ in coefficients[2:]))
    start, *moving = (torch.cat(pair, -1) for pair in zip(own, coefficients, strict=True))
    moving = [torch.where(followed, c, 0.0) for c in moving]
    last = (followed.sum(1, keepdim=True) - 1).clamp(min=0).expand_as(start[:, :1])
    end = sum(moving, start).gather(1, last)
    kept = (torch.where(followed, start, end), *moving)
    return Path(tuple(c.movedim(1, 0).contiguous() for c in kept))


def _index(like: Tensor) -> Tensor:
    return torch.arange(like.shape[1], device=like.device)[None, :, None].expand_as(like)


def _before(mask: Tensor) -> Tensor:
    """At each knot, the last one up to it with an observation; -1 for none."""
    return torch.where(mask, _index(mask), -1).cummax(1).values


def _after(mask: Tensor) -> Tensor:
    """At each knot, the first one from it on with an observation; T for none."""
    return torch.where(mask, _index(mask), mask.shape[1]).flip(1).cummin(1).values.flip(1)


def _held(values: Tensor, mask: Tensor) -> Tensor:
    """The last observation of each channel so far, or 0."""
    before = _before(mask)
    return torch.where(before >= 0, values.gather(1, before.clamp(min=0)), 0.0)


def _ends(values: Tensor, mask: Tensor, followed: Tensor) -> tuple[Tensor, Tensor]:
    """Values and mask with each channel's first observation also before it, and its last until its series ends.

    A channel that was never observed becomes 0.
    """
    before, after, none_left = _before(mask), _after(mask), mask.shape[1]
    early, late = before < 0, (after == none_left) & torch.cat([torch.ones_like(followed[:, :1]), followed], 1)
    first = torch.where(early, values.gather(1, after.clamp(max=none_left - 1)), values)
    return torch.where(late & ~early, values.gather(1, before.clamp(min=0)), first), mask | early | late


def _filled(values: Tensor, mask: Tensor, times: Tensor, followed: Tensor) -> Tensor:
    """Values with gaps filled by the line between the observations on either side."""
    values, mask = _ends(values, mask, followed)
    before, after = _before(mask), _after(mask).clamp(max=mask.shape[1] - 1)
    t = times[..., None].expand_as(values)
    start, stop = t.gather(1, before), t.gather(1, after)
    share = torch.where(stop > start, (t - start) / torch.where(stop > start, stop - start, 1.0), 0.0)
    x, y = values.gather(1, before), values.gather(1, after)
    return torch.where(mask, values, x + share * (y - x))


def _through(x: Tensor, slopes: Tensor | None, times: Tensor, followed: Tensor) -> Path:
    """The path with values at all knots: lines, or cubics with slopes dx/dt at the knots."""
    start, rise = x[:, :-1], x.diff(dim=1)
    if slopes is None:
        return _path(times, (start, rise), followed)
    h = times.diff(dim=1)[..., None]
    left, right = h * slopes[:, :-1], h * slopes[:, 1:]
    return _path(times, (start, left, 3 * rise - 2 * left - right, left + right - 2 * rise), followed)


def _backward_slopes(x: Tensor, times: Tensor) -> Tensor:
    slopes = x.diff(dim=1) / times.diff(dim=1)[..., None]
    return torch.cat([slopes[:, :1], slopes], 1)


def _rectilinear(x: Tensor, times: Tensor, followed: Tensor) -> Path:
    """Lines through (t_0, x_0), (t_1, x_0), (t_1, x_1), (t_2, x_1), …"""
    doubled, moved = x.repeat_interleave(2, 1)[:, :-1], times.repeat_interleave(2, 1)[:, 1:]
    return _through(doubled, None, moved, followed.repeat_interleave(2, 1))


def _natural(values: Tensor, mask: Tensor, times: Tensor, followed: Tensor) -> Path:
    """Each piece is a part of the cubic between the observations on either side."""
    x, known = _ends(values, mask, followed)
    t = times[..., None].expand_as(x)
    slopes = _natural_slopes(x, known, t)
    before, after = _before(known)[:, :-1], _after(known)[:, 1:].clamp(max=known.shape[1] - 1)
    start, stop, m, n = (a.gather(1, i) for a, i in ((t, before), (t, after), (slopes, before), (slopes, after)))
    h = torch.where(after > before, stop - start, 1.0)
    delta = (x.gather(1, after) - x.gather(1, before)) / h
    c, d = (3 * delta - 2 * m - n) / h, (m + n - 2 * delta) / h.square()
    tau, w = t[:, :-1] - start, t.diff(dim=1)  # moved to where the piece starts, in units of its length
    here = x.gather(1, before) + tau * (m + tau * (c + tau * d))
    slope = m + tau * (2 * c + 3 * tau * d)
    return _path(times, (here, w * slope, w.square() * (c + 3 * tau * d), w**3 * d), followed)


def _natural_slopes(x: Tensor, known: Tensor, t: Tensor) -> Tensor:
    """dx/dt of the natural spline at its knots, which differ from channel to channel: a tridiagonal system for each.

        r_{i-1} m_{i-1} + 2 (r_{i-1} + r_i) m_i + r_i m_{i+1} = 3 (r_{i-1}^2 dx_{i-1} + r_i^2 dx_i),   r_i = 1 / h_i

    with r = 0 beyond the ends. The knots of a channel are moved to the front, and the rows after them are m = 0.
    """
    order = torch.argsort((~known).byte(), dim=1, stable=True)
    x, t, there = (a.gather(1, order) for a in (x, t, known))
    h = torch.where(there[:, 1:], t.diff(dim=1), 1.0)
    r = torch.where(there[:, 1:], 1 / h, 0.0)
    push = 3 * r.square() * x.diff(dim=1)
    none = torch.zeros_like(r[:, :1])
    left, right = torch.cat([none, r], 1), torch.cat([r, none], 1)
    diagonal = torch.where(there, 2 * (left + right), 1.0)
    slopes = tridiagonal(left, diagonal, right, torch.cat([none, push], 1) + torch.cat([push, none], 1))
    return torch.zeros_like(x).scatter(1, order, slopes)


def tridiagonal(lower: Tensor, diagonal: Tensor, upper: Tensor, right: Tensor) -> Tensor:
    """Solves lower_i y_{i-1} + diagonal_i y_i + upper_i y_{i+1} = right_i along axis 1 of (N, T, C), by elimination.

    Without pivoting: for diagonally dominant rows. The first of `lower` and the last of `upper` are not read.
    """
    rows = zip(*(a.unbind(1) for a in (lower, diagonal, upper, right)), strict=True)
    factor, carried = torch.zeros_like(right[:, 0]), torch.zeros_like(right[:, 0])
    reduced = []
    for below, here, above, value in rows:
        pivot = here - below * factor
        factor, carried = above / pivot, (value - below * carried) / pivot
        reduced.append((factor, carried))
    solved = [reduced[-1][1]]
    for factor, carried in reduced[-2::-1]:
        solved.append(carried - factor * solved[-1])
    return torch.stack(solved[::-1], 1)

"""Interpolation: torchcde's paths, values at knots, polynomials that are met exactly, causality, padding."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torchcde
from torch import Tensor

from zoo._interpolation import INTERPOLATIONS, Path, interpolate, tridiagonal

N, T, C = 4, 12, 3
# float64; the splines divide by intervals of a tenth
assert_equal = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-10)


def series(share: float = 0.0, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Values, mask and times in float64: of each series something is there at the first and the last time."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(N, T, C, generator=generator, dtype=torch.float64)
    times = (torch.rand(N, T, generator=generator, dtype=torch.float64) + 0.1).cumsum(1)
    mask = torch.rand(N, T, C, generator=generator) >= share
    mask[:, 0] = True
    mask[:, -1, 0] = True
    return values, mask, times


def torchcde_path(kind: str, x: Tensor, t: Tensor) -> Any:
    if kind == "rectilinear":
        return torchcde.LinearInterpolation(torchcde.linear_interpolation_coeffs(x, rectilinear=0))
    if kind == "linear":
        return torchcde.LinearInterpolation(torchcde.linear_interpolation_coeffs(x, t), t)
    make = {"hermite": torchcde.hermite_cubic_coefficients_with_backward_differences}
    return torchcde.CubicSpline(make.get(kind, torchcde.natural_cubic_coeffs)(x, t), t)


def knots(path: Path) -> Tensor:
    return torch.stack([path.value(k) for k in range(path.pieces + 1)], 1)


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("kind", INTERPOLATIONS)
def test_paths_and_their_derivatives_are_those_of_torchcde(kind: str, share: float) -> None:
    values, mask, times = series(share)
    mask[1, 5:, 1] = False  # a channel that ends early
    mask[2, 1:8, 2] = False  # and one with a long gap
    if kind != "rectilinear":  # whose start torchcde takes from the future
        mask[3, :4, 2] = False
    path = interpolate(values, mask, times, kind)
    for n in range(N):
        gaps = torch.where(mask[n], values[n], torch.nan)
        theirs = torchcde_path(kind, torch.cat([times[n, :, None], gaps], -1), times[n])
        for k in range(path.pieces):
            for u in (0.25, 0.5, 0.875):
                own = kind == "rectilinear"  # torchcde's knots are indices then, and else times
                w = torch.ones(()).double() if own else times[n, k + 1] - times[n, k]
                at = torch.tensor(k + u).double() if own else times[n, k] + u * w
                assert_equal(path.value(k + u)[n], theirs.evaluate(at))
                assert_equal(path.derivative(k + u)[n], theirs.derivative(at) * w)


@pytest.mark.parametrize("kind", INTERPOLATIONS)
def test_paths_pass_through_what_was_observed(kind: str) -> None:
    values, mask, times = series(0.5)
    found = knots(interpolate(values, mask, times, kind))[:, :: 2 if kind == "rectilinear" else 1]
    assert_equal(found[..., 0], times)
    assert_equal(found[..., 1:][mask], values[mask])


@pytest.mark.parametrize("kind", ["linear", "hermite", "natural"])
def test_lines_are_met_exactly_whatever_is_missing(kind: str) -> None:
    _, mask, times = series(0.5)
    mask[:, -1] = True
    slope = torch.tensor([2.0, -1.0, 0.5]).double()
    path = interpolate(times[..., None] * slope + 1, mask, times, kind)
    for k in range(path.pieces):
        t = path.value(k + 0.3)[:, :1]
        assert_equal(path.value(k + 0.3)[:, 1:], t * slope + 1)
        dt = path.derivative(k + 0.3)[:, :1]
        assert_equal(path.derivative(k + 0.3)[:, 1:] / dt, slope.expand(N, C))


def test_the_natural_spline_has_no_curvature_at_its_ends_and_two_derivatives_between() -> None:
    values, mask, times = series()
    path = interpolate(values, mask, times, "natural")
    a, b, c, d = path.coefficients
    w = b[..., :1]  # times are lines in their pieces
    assert_equal(c[0, :, 1:], torch.zeros(N, C).double())
    assert_equal((c + 3 * d)[-1, :, 1:], torch.zeros(N, C).double())
    for ends, starts in (
        (a + b + c + d, a),
        ((b + 2 * c + 3 * d) / w, b / w),
        ((2 * c + 6 * d) / w**2, 2 * c / w**2),
    ):
        assert_equal(ends[:-1], starts[1:])


def test_hermite_slopes_are_those_of_the_line_before() -> None:
    values, mask, times = series()
    path = interpolate(values, mask, times, "hermite")
    lines = values.diff(dim=1) / times.diff(dim=1)[..., None]
    slopes = torch.stack([path.derivative(k)[:, 1:] / path.derivative(k)[:, :1] for k in range(T - 1)], 1)
    assert_equal(slopes, torch.cat([lines[:, :1], lines[:, :-1]], 1))


def test_a_rectilinear_path_moves_in_time_or_in_value_and_knows_no_future() -> None:
    values, mask, times = series(0.4)
    path = interpolate(values, mask, times, "rectilinear")
    _, moves = path.coefficients
    assert path.pieces == 2 * (T - 1)
    assert not moves[0::2, :, 1:].any()
    assert not moves[1::2, :, 0].any()
    later, other = values.clone(), mask.clone()
    later[:, 6:], other[:, 6:-1] = 7.0, ~mask[:, 6:-1]  # up to (t_6, x_5), the end of piece 10, all is known
    changed = interpolate(later, other, times, "rectilinear")
    torch.testing.assert_close(knots(changed)[:, :12], knots(path)[:, :12], rtol=0, atol=0)
    assert not torch.equal(knots(changed)[:, 12], knots(path)[:, 12])


def test_before_its_first_value_a_channel_is_zero_where_the_future_is_unknown() -> None:
    values, mask, times = series()
    mask[:, :3, 1] = False
    assert not knots(interpolate(values, mask, times, "rectilinear"))[:, :6, 2].any()
    for kind in ("linear", "hermite", "natural"):
        first = values[:, 3, 1, None].expand(N, 4)
        assert_equal(knots(interpolate(values, mask, times, kind))[:, :4, 2], first)


@pytest.mark.parametrize("kind", INTERPOLATIONS)
def test_what_a_series_is_filled_up_with_has_no_influence(kind: str) -> None:
    values, mask, times = series(0.3)
    path = interpolate(values, mask, times, kind)
    more = torch.full((N, 5, C), torch.nan).double(), torch.zeros(N, 5, C, dtype=torch.bool), torch.arange(1, 6) ** 2
    longer = interpolate(
        torch.cat([values, more[0]], 1),
        torch.cat([mask, more[1]], 1),
        torch.cat([times, times[:, -1:] + more[2]], 1),
        kind,
    )
    assert_equal(knots(longer)[:, : path.pieces + 1], knots(path))
    for k in range(path.pieces, longer.pieces):
        assert not longer.derivative(k + 0.5).any()
        assert_equal(longer.value(k + 0.5), path.value(path.pieces))


@pytest.mark.parametrize("kind", INTERPOLATIONS)
def test_a_channel_that_was_never_observed_is_zero(kind: str) -> None:
    values, mask, times = series()
    mask[..., 1] = False
    assert not knots(interpolate(values, mask, times, kind))[..., 2].any()
    alone = interpolate(values[..., 1:2], mask[..., 1:2], times, kind)
    assert not any(c.any() for c in alone.coefficients[1:])


def test_a_tridiagonal_system_is_solved_as_the_full_one() -> None:
    lower, upper, right = torch.randn(3, N, T, C, generator=torch.Generator().manual_seed(0)).double().unbind(0)
    diagonal = 3 + lower.abs() + upper.abs()
    rows = (a.movedim(1, -1) for a in (lower[:, 1:], diagonal, upper[:, :-1]))
    matrix = sum(torch.diag_embed(row, offset) for row, offset in zip(rows, (-1, 0, 1), strict=True))
    expected = torch.linalg.solve(matrix, right.movedim(1, -1)).movedim(-1, 1)
    assert_equal(tridiagonal(lower, diagonal, upper, right), expected)


def test_what_is_no_path_is_refused() -> None:
    values, mask, times = series()
    with pytest.raises(ValueError, match=r"interpolation must be one of 'linear', .*, got 'cubic'"):
        interpolate(values, mask, times, "cubic")
    with pytest.raises(ValueError, match="a path needs at least two times, got 1"):
        interpolate(values[:, :1], mask[:, :1], times[:, :1])

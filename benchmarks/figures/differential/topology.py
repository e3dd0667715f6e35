"""Figures of flows with and without extra dimensions: how they take points to their targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result

LINES = 25  # paths of a panel


def reflection(results: Sequence[Result]) -> Figure:
    """Each label's first flow over time, on the line and, with one dimension more, in the plane."""
    firsts = _firsts(results)
    figure, row = panels(1 + len(firsts))
    times = np.linspace(0, 1, 21)
    for axes, (label, (paths, targets)) in zip(row, firsts.items(), strict=False):
        for k in _some(paths):
            axes.plot(times, paths[:, k, 0], lw=0.8, color=_colour(targets[k]))
        axes.set(xlabel="t", ylabel="first coordinate", title=label)
    for label, (paths, targets) in firsts.items():
        if paths.shape[-1] > 1:
            for k in _some(paths):
                row[-1].plot(*paths[:, k, :2].T, lw=0.8, color=_colour(targets[k]))
            row[-1].set(xlabel="first coordinate", ylabel="added coordinate", title=f"{label}, in its plane")
    return figure


def rings(results: Sequence[Result]) -> Figure:
    """Each label's first flow: points of disc and ring at its end, the added coordinate upward if there is one."""
    firsts = _firsts(results)
    figure, row = panels(1 + len(firsts))
    paths, targets = next(iter(firsts.values()))
    _points(row[0], paths[0], targets)
    row[0].set(aspect="equal", title="data")
    for axes, (label, (paths, targets)) in zip(row[1:], firsts.items(), strict=True):
        _points(axes, paths[-1][:, [0, -1]], targets)
        axes.set(title=f"{label}, at t = 1", ylabel="added coordinate" if paths.shape[-1] > 2 else "second coordinate")
    return figure


def _firsts(results: Sequence[Result]) -> dict[str, tuple[Any, Any]]:
    """Paths (T, N, d) and targets (N,) of each label's first Result."""
    found: dict[str, tuple[Any, Any]] = {}
    for result in results:
        if result.model not in found:
            arrays = result.arrays()
            found[result.model] = arrays["paths"][0], arrays["targets"][0]
    return found


def _some(paths: Any) -> np.ndarray:
    return np.linspace(0, paths.shape[1] - 1, LINES).round().astype(int)


def _colour(target: float) -> str:
    return COLOURS[int(target > 0)]


def _points(axes: Axes, points: Any, targets: Any) -> None:
    for number, sign in enumerate((-1, 1)):
        axes.plot(*points[targets * sign > 0].T, ".", ms=3, color=COLOURS[number])
    axes.set(xlabel="first coordinate")

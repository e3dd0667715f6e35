"""The scaling-path figure: what a network draws through points, from the rich to the kernel regime."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result
from datamodules import InterpolationPoints


def path(results: Sequence[Result]) -> Figure:
    """Curves of one seed along the path, and how far parameters and curves of all seeds move against the scale."""
    figure, (left, middle, right) = panels(3)
    scales = [float(result.config()["model"]["init_args"]["scale"]) for result in results]
    each = sorted(set(scales))
    for number, scale in enumerate(each):
        first = results[scales.index(scale)]
        curve = first.arrays()["curve"][0]
        colour = COLOURS[number % len(COLOURS)]
        left.plot(np.linspace(-1, 1, len(curve)), curve, color=colour, lw=1.2, label=f"scale {scale:g}")
        interpolant = first.arrays()["interpolant"][0]
    left.plot(np.linspace(-1, 1, len(interpolant)), interpolant, "k--", lw=1, label="tangent kernel")
    points = InterpolationPoints
    left.plot(points.locations, points.values, "ko", ms=4)
    left.set(xlabel="u", ylabel="f(u, 1)", title="After training from each scale")
    names = {"movement": (middle, "Movement of the parameters"), "kernel_distance": (right, "Distance to the kernel")}
    for name, (axes, title) in names.items():
        measured = [result.metrics[f"test/{name}"] for result in results]
        axes.plot(scales, measured, "o", color=COLOURS[0], ms=4, alpha=0.6, label="seeds")
        axes.set(xlabel="scale of the initialisation", xscale="log", yscale="log", title=title)
    last = [r.metrics["test/movement"] for r, scale in zip(results, scales, strict=True) if scale == each[-1]]
    middle.plot(each, np.mean(last) * (np.array(each) / each[-1]) ** -2, color="0.5", ls=":", label="slope -2")
    middle.set_ylabel(r"$\|\theta - \theta_0\| / \|\theta_0\|$")
    right.set_ylabel(r"$\|f - f_K\| / \|f_K\|$ on $[-1, 1]$")
    for axes in (left, middle):
        axes.legend(frameon=False, fontsize=8)
    return figure

"""The scaling-path figure: what a network draws through points, from the rich to the kernel regime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result
from datamodules import InterpolationPoints


def path(results: Sequence[Result]) -> Figure:
    """Curves of one seed along the path, and how far parameters and curves of all seeds move against the scale."""
    figure, (left, middle, right) = panels(3)
    scales = np.array([float(result.config()["model"]["init_args"]["scale"]) for result in results])
    each = np.unique(scales)
    _curves(left, {scale: results[int(np.argmax(scales == scale))] for scale in (each[::2] if len(each) > 3 else each)})
    for axes, name, power in ((middle, "movement", -2), (right, "kernel_distance", -1)):
        measured = np.array([result.metrics[f"test/{name}"] for result in results])
        axes.plot(scales, measured, "o", color=COLOURS[0], ms=4, alpha=0.6, label="seeds")
        guide = measured[scales == each[-1]].mean() * (each / each[-1]) ** power
        axes.plot(each[-3:], guide[-3:], color="0.4", ls=":", label=f"slope {power}")
        axes.set(xlabel="scale of the initialisation", xscale="log", yscale="log")
        axes.legend(frameon=False, fontsize=8)
    middle.set(title="Movement of the parameters", ylabel=r"$\|\theta - \theta_0\| / \|\theta_0\|$")
    right.set(title="Distance to the tangent kernel", ylabel=r"$\|f - f_K\| / \|f_K\|$ on $[-1, 1]$")
    return figure


def _curves(axes: Axes, chosen: Mapping[float, Result]) -> None:
    """The curve from each scale, and the tangent kernel's, which is that of every scale."""
    for number, (scale, result) in enumerate(chosen.items()):
        arrays = result.arrays()
        u = np.linspace(-1, 1, arrays["curve"].shape[-1])
        axes.plot(u, arrays["curve"][0], color=COLOURS[number % len(COLOURS)], lw=1.4, label=f"scale {scale:g}")
    axes.plot(u, arrays["interpolant"][0], "k--", lw=0.8, label="tangent kernel")
    axes.plot(InterpolationPoints.locations, InterpolationPoints.values, "ko", ms=4, label="points")
    axes.set(xlabel="u", ylabel="f(u, 1)", title="After training", xticks=np.linspace(-1, 1, 5), ylim=(-0.75, 1.15))
    axes.legend(frameon=False, fontsize=8, loc="upper right")

"""The bandlimited figure: what random weights from a box can approximate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result
from datamodules import ThreeBumps


def floor(results: Sequence[Result]) -> Figure:
    """The widest fits of one seed over the target, and all seeds' errors against the width and against the bound."""
    figure, (left, middle, right) = panels(3)
    bounds = sorted({_argument(result, "bound") for result in results})
    colours = {bound: COLOURS[number % len(COLOURS)] for number, bound in enumerate(bounds)}
    by_width = [result for result in results if result.model != "bands"]
    for bound in sorted({_argument(result, "bound") for result in by_width}):
        own = [result for result in by_width if _argument(result, "bound") == bound]
        _averaged(middle, own, "features", colours[bound], f"bound {bound:g}")
        widest = max(own, key=lambda result: _argument(result, "features"))
        fit = widest.arrays()["fit"][0]
        label = f"bound {bound:g}, {_argument(widest, 'features'):g} features"
        left.plot(np.linspace(0, 1, len(fit)), fit, color=colours[bound], lw=1.2, label=label)
    x = torch.linspace(0, 1, 1001, dtype=torch.float64)
    left.plot(x, ThreeBumps.target(x), "k--", lw=1, label="target")
    bands = [result for result in results if result.model == "bands"]
    _averaged(right, bands, "bound", "k", None)
    left.set(xlabel="x", ylabel="f(x)", title="Fits of one seed")
    middle.set(xlabel="features", ylabel="test RMSE", xscale="log", yscale="log", title="A floor that no width removes")
    right.set(xlabel="bound of the weights", ylabel="test RMSE", xscale="log", yscale="log")
    right.set_title(f"{_argument(bands[0], 'features'):g} features" if bands else "")
    for axes in (left, middle):
        axes.legend(frameon=False, fontsize=8)
    return figure


def _argument(result: Result, name: str) -> float:
    return float(result.config()["model"]["init_args"][name])


def _averaged(axes: Axes, results: Sequence[Result], over: str, colour: str, label: str | None) -> None:
    """Every seed as a dot, and a line through their geometric means."""
    at = np.array([_argument(result, over) for result in results])
    error = np.array([result.metrics["test/rmse"] for result in results])
    each = np.unique(at)
    axes.plot(at, error, "o", color=colour, ms=3, alpha=0.5)
    axes.plot(each, [np.exp(np.log(error[at == one]).mean()) for one in each], color=colour, lw=1.2, label=label)

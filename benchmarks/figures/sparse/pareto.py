"""The Pareto figure: accuracy against the number of parameters that are not zero, for each way of pruning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, product
from math import log10

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.observables.sparse.pareto import Curve, area, curves, efficiency
from benchmarks.store import Result

Seeds = Mapping[int, Curve]
DENSE = "dense"


def pareto(results: Sequence[Result]) -> Figure:
    """Every seed as a dot and the means as lines; then accuracy per non-zero parameter, and the mean over the sizes."""
    figure, (left, middle, right) = panels(3, height=4.2)
    found = curves(results)
    dense = found.pop(DENSE, {})
    looks = dict(zip(found, cycle(product(("-", "--", ":"), COLOURS[:-1])), strict=False))
    for model, (style, colour) in looks.items():
        sizes, accuracies = _points(found[model])
        left.plot(sizes.ravel(), 100 * accuracies.ravel(), "o", color=colour, ms=3, alpha=0.4, mew=0)
        marker = "" if len(sizes.T) > 1 else "s"  # a single density is no line
        means = 100 * accuracies.mean(0)
        left.plot(sizes.mean(0), means, style, color=colour, marker=marker, ms=4, label=_shown(model))
        each = efficiency(accuracies, sizes).mean(0)
        middle.plot(sizes.mean(0), each, style, color=colour, marker=marker or "o", ms=3)
    _dense(left, middle, dense)
    left.set(xscale="log", xlabel="parameters that are not zero", ylabel="test accuracy in %")
    middle.set(xscale="log", yscale="log", xlabel="parameters that are not zero", ylabel="% per million of them")
    left.set_title("Each seed, and the means", fontsize=10)
    middle.set_title("Accuracy for each parameter", fontsize=10)
    _areas(right, {model: found[model] for model in _widest(found)}, {m: look[1] for m, look in looks.items()})
    left.legend(frameon=False, fontsize=7)
    return figure


def _points(seeds: Seeds) -> tuple[np.ndarray, np.ndarray]:
    """Sizes and accuracies, (seeds, densities): sizes of one density may differ by a few zeros among the biases."""
    ordered = [sorted(curve.items()) for curve in seeds.values()]
    full = [points for points in ordered if len(points) == max(map(len, ordered))]
    both = np.array(full)
    return both[..., 0], both[..., 1]


def _dense(left: Axes, middle: Axes, seeds: Seeds) -> None:
    if seeds:
        sizes, accuracies = _points(seeds)
        left.axhline(100 * accuracies.mean(), color=COLOURS[-1], lw=1, label=DENSE)
        left.axhspan(100 * accuracies.min(), 100 * accuracies.max(), color=COLOURS[-1], alpha=0.1, lw=0)
        middle.plot(sizes.mean(), efficiency(accuracies, sizes).mean(), "s", color=COLOURS[-1], ms=4)


def _widest(found: Mapping[str, Seeds]) -> list[str]:
    """The models whose curves span as many decades as any, for which areas may be compared."""
    spans = {model: _decades(seeds) for model, seeds in found.items()}
    return [model for model, span in spans.items() if span > 0 and span > 0.95 * max(spans.values())]


def _decades(seeds: Seeds) -> float:
    sizes, _ = _points(seeds)
    return log10(sizes.max() / sizes.min())


def _areas(axes: Axes, found: Mapping[str, Seeds], colours: Mapping[str, str]) -> None:
    for row, (model, seeds) in enumerate(found.items()):
        each = [100 * area(curve) for curve in seeds.values() if len(curve) > 1]
        axes.plot(each, [row] * len(each), "o", color=colours[model], ms=4, alpha=0.5, mew=0)
        axes.plot(np.mean(each), row, "|", color=colours[model], ms=14, mew=2)
    axes.set_yticks(range(len(found)), [_shown(model) for model in found])
    axes.invert_yaxis()
    axes.set_xlabel("test accuracy in %")
    axes.set_title("Its mean over the logarithm of the size", fontsize=10)


def _shown(model: str) -> str:
    return model.replace("_", " ")

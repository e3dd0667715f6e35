"""The figures of trees: where nodes lie in the Poincare disc and in the plane, and what that is worth by dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result

SHOWN = {"euclidean": "In the plane", "hgcn": "In the Poincaré disc"}
KEY = "embedding"


def kinship(results: Sequence[Result]) -> Figure:
    """The tree in the plane and in the disc, of one seed, and the area under the curve by dimension, of all."""
    figure, (plane, disc, last) = panels(3, height=4.2)
    for axes, (label, title) in zip((plane, disc), SHOWN.items(), strict=True):
        shown = [r for r in results if r.model == label and "points" in r.arrays()]
        if shown:
            _tree(axes, shown[0], label != "euclidean")
        axes.set(title=title, aspect="equal", xticks=[], yticks=[])
        axes.spines[["left", "bottom"]].set_visible(False)
    _by_dimension(last, results, "test/auc")
    last.set(ylabel="area under the curve, held-out links", title="All seeds")
    return figure


def disease(results: Sequence[Result]) -> Figure:
    """Accuracy by dimension."""
    figure, (axes,) = panels(1)
    _by_dimension(axes, results, "test/accuracy")
    axes.set(ylabel="accuracy")
    return figure


def _by_dimension(axes: Any, results: Sequence[Result], metric: str) -> None:
    """A line of means for each model, and a dot a seed."""
    labels = list(dict.fromkeys(r.model for r in results))
    for number, (label, colour) in enumerate(zip(labels, (*COLOURS, "#999999"), strict=False)):
        _values(axes, [r for r in results if r.model == label], metric, colour, number - (len(labels) - 1) / 2)
    axes.set_xscale("log")
    axes.set_xticks(dimensions := sorted({_dimension(r) for r in results}), [str(d) for d in dimensions])
    axes.minorticks_off()
    axes.set_xlabel("dimensions of the embedding")
    axes.legend(frameon=False, fontsize=8)


def _dimension(result: Result) -> int:
    arguments = result.config()["model"]["init_args"]
    return int(arguments[KEY] or arguments["width"])


def _tree(axes: Any, result: Result, disc: bool) -> None:
    """Nodes, the brighter the deeper, and the branches between them."""
    points, branches = (result.arrays()[name][0] for name in ("points", "branches"))
    depth = np.zeros(len(points))
    for parent, child in branches.T:  # parents come first
        depth[child] = depth[parent] + 1
    axes.add_collection(LineCollection(points[branches.T], colors="#999999", linewidths=0.5, zorder=1))
    axes.scatter(*points.T, c=depth, s=9, cmap="viridis", zorder=2)
    axes.scatter(*points[0], c=COLOURS[1], s=40, marker="*", zorder=3)
    if disc:
        radius = (-result.config()["model"]["init_args"]["curvature"]) ** -0.5
        axes.add_patch(Circle((0, 0), radius, fill=False, color="black", lw=0.8))
        axes.set(xlim=(-1.03 * radius, 1.03 * radius), ylim=(-1.03 * radius, 1.03 * radius))


def _values(axes: Any, results: Sequence[Result], metric: str, colour: str, place: float) -> None:
    """Means over seeds, joined, and a dot a seed, beside those of other models."""
    by: dict[int, list[float]] = {}
    for result in results:
        by.setdefault(_dimension(result), []).append(result.metrics[metric])
    at = {dimension: dimension * 1.035**place for dimension in sorted(by)}
    axes.plot(list(at.values()), [np.mean(by[d]) for d in at], "o-", color=colour, label=results[0].model, ms=5)
    for dimension, where in at.items():
        axes.plot([where] * len(by[dimension]), by[dimension], ".", color=colour, ms=3, alpha=0.6)

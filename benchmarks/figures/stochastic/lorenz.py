"""The Lorenz figure: paths of the data and paths that the model generates, and how far apart their laws are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS
from benchmarks.store import Result

KINDS = {"energy": "generated", "energy_gaussian": "a Gaussian\nprocess", "energy_floor": "other data"}


def generated(results: Sequence[Result]) -> Figure:
    """Test paths, generated ones and those of a Gaussian process, of the first seed, and energy distances of all."""
    figure = Figure(figsize=(14, 3.9), layout="constrained")
    arrays = {name: array[0] for name, array in results[0].arrays().items()}
    limits = [(paths.min(), paths.max()) for paths in arrays["truth"].reshape(-1, 3).T]
    titles = {"truth": "Data", "generated": "Generated", "gaussian": "A Gaussian process"}
    for number, (name, title) in enumerate(titles.items()):
        axes: Any = figure.add_subplot(1, 4, number + 1, projection="3d")
        for path in arrays[name]:
            axes.plot(*path.T, lw=0.7, color=COLOURS[number], alpha=0.7)
        axes.set(title=title, xticklabels=[], yticklabels=[], zticklabels=[])
        axes.set(xlim=limits[0], ylim=limits[1], zlim=limits[2])
        axes.view_init(elev=15, azim=-60)
        axes.set_box_aspect(None, zoom=1.1)
    last = figure.add_subplot(1, 4, 4)
    last.spines[["top", "right"]].set_visible(False)
    found = np.array([[result.metrics[f"test/{kind}"] for kind in KINDS] for result in results])
    last.plot(np.arange(len(KINDS)), found.T, ".", ms=6, color=COLOURS[0])
    last.plot(np.arange(len(KINDS)), found.mean(0), "_", ms=22, mew=2, color=COLOURS[0])
    last.set_xticks(range(len(KINDS)), list(KINDS.values()), fontsize=8)
    last.set(ylabel="energy distance of whole paths", yscale="log", title="To test paths, all seeds", xlim=(-0.5, 2.5))
    return figure

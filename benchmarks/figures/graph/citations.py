"""The figure of citation graphs: what each space is worth, a dot a seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result


def spaces(results: Sequence[Result]) -> Figure:
    """Test accuracy or area under the curve of each model: a dot a seed, and a line at their mean."""
    figure, (axes,) = panels(1)
    labels = list(dict.fromkeys(result.model for result in results))
    metric = next(name for name in ("test/auc", "test/accuracy") if name in results[0].metrics)
    for place, label in enumerate(labels):
        values = [result.metrics[metric] for result in results if result.model == label]
        axes.plot([place] * len(values), values, ".", ms=8, color=COLOURS[place % len(COLOURS)])
        axes.plot(place, np.mean(values), "_", ms=26, mew=2, color=COLOURS[place % len(COLOURS)])
    axes.set_xticks(range(len(labels)), labels, rotation=20)
    axes.set(ylabel=metric.removeprefix("test/").replace("auc", "area under the curve"), xlim=(-0.5, len(labels) - 0.5))
    return figure

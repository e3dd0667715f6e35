"""The intensive-care figure: how well each model ranks patients, and how it came to do so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result

AREAS = {"auroc": "area under the ROC curve", "auprc": "area under precision over recall"}


def areas(results: Sequence[Result]) -> Figure:
    """Both areas of the test records, a dot a seed and a bar the mean, the models in order of the first."""
    figure, axes = panels(len(AREAS))
    models = sorted(dict.fromkeys(result.model for result in results), key=lambda model: _mean(results, model, "auroc"))
    for panel, (metric, title) in zip(axes, AREAS.items(), strict=True):
        for place, model in enumerate(models):
            _row(panel, place, _values(results, model, metric))
        panel.set(yticks=range(len(models)), yticklabels=[model.replace("_", " ") for model in models], xlabel=title)
        panel.set_title("A dot a seed, a bar the mean")
        panel.locator_params(axis="x", nbins=5)
        panel.grid(axis="x", lw=0.3)
    return figure


def _row(axes: Axes, place: int, values: Sequence[float]) -> None:
    axes.plot(values, [place] * len(values), "o", ms=4, alpha=0.6, color=COLOURS[0])
    axes.plot([np.mean(values)] * 2, [place - 0.3, place + 0.3], lw=2, color=COLOURS[1])


def _mean(results: Sequence[Result], model: str, metric: str) -> float:
    return float(np.mean(_values(results, model, metric)))


def _values(results: Sequence[Result], model: str, metric: str) -> list[float]:
    return [result.metrics[f"test/{metric}"] for result in results if result.model == model]

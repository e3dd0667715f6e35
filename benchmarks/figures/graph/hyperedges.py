"""The figure of models of hyperedges: how they come to rank them, and whether they find outsiders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result

BARS = {"auroc": "ROC", "auprc": "precision\nover recall", "outsider": "outsiders\nfound"}
CHANCE = {"auroc": 1 / 2, "auprc": 1 / 6}


def prediction(results: Sequence[Result]) -> Figure:
    """Both areas of validation over the epochs, mean and range over seeds, and what the tests measured."""
    figure, (first, second, right) = panels(3)
    models = list(dict.fromkeys(result.model for result in results))
    for number, model in enumerate(models):
        own = [result for result in results if result.model == model]
        for axes, metric in ((first, "auroc"), (second, "auprc")):
            _curve(axes, [_epochs(result, f"val/{metric}") for result in own], COLOURS[number], model)
        _dots(right, number, len(models), own)
    first.set(xlabel="epoch", ylabel="area under the ROC curve", title="Validation: mean and range of the seeds")
    second.set(
        xlabel="epoch", ylabel="area under precision over recall", title="Validation: mean and range of the seeds"
    )
    _tests(right, results)
    first.legend(frameon=False, fontsize=8)
    return figure


def _epochs(result: Result, metric: str) -> np.ndarray:
    history = result.history()
    return history.dropna(subset=[metric])[metric].to_numpy()


def _curve(axes: Axes, curves: Sequence[np.ndarray], colour: str, label: str) -> None:
    length = min(map(len, curves))
    stacked, epochs = np.stack([curve[:length] for curve in curves]), np.arange(1, length + 1)
    axes.plot(epochs, stacked.mean(0), color=colour, lw=1.4, label=label)
    axes.fill_between(epochs, stacked.min(0), stacked.max(0), color=colour, alpha=0.2, lw=0)


def _dots(axes: Axes, number: int, count: int, results: Sequence[Result]) -> None:
    """A dot a seed and a bar the mean, of each number that the tests measured."""
    for place, metric in enumerate(BARS):
        values = [r.metrics[f"test/{metric}"] for r in results if f"test/{metric}" in r.metrics]
        if values:
            x = place + 0.7 * ((number + 0.5) / count - 0.5)
            axes.plot([x] * len(values), values, "o", ms=4, alpha=0.5, color=COLOURS[number])
            axes.plot([x - 0.06, x + 0.06], [np.mean(values)] * 2, color=COLOURS[number], lw=2)


def _tests(axes: Axes, results: Sequence[Result]) -> None:
    guesses = [r.metrics["test/chance"] for r in results if "test/chance" in r.metrics]
    levels = CHANCE | ({"outsider": float(np.mean(guesses))} if guesses else {})
    for place, metric in enumerate(BARS):
        if metric in levels:
            axes.plot([place - 0.4, place + 0.4], [levels[metric]] * 2, color="0.4", lw=1, ls="--")
    axes.set(xticks=range(len(BARS)), xticklabels=BARS.values(), ylim=(0, 1))
    axes.set_title("Test: dots are seeds, dashes chance")

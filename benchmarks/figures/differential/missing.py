"""The missing-values figures: how accurate classifiers stay when more and more of a series is lost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result


def rates(results: Sequence[Result]) -> Figure:
    """Test accuracy of every model over the share of values lost, a dot a seed, and how the first model was trained."""
    figure, (left, right) = panels(2)
    models = list(dict.fromkeys(map(_model, results)))
    lost = sorted(set(map(_missing, results)))
    for number, model in enumerate(models):
        own = {rate: _accuracies(results, model, rate) for rate in lost}
        shift = 0.012 * (number - (len(models) - 1) / 2)  # so that dots of different models lie side by side
        for rate, accuracies in own.items():
            left.plot([rate + shift] * len(accuracies), accuracies, "o", ms=3, color=COLOURS[number], alpha=0.5)
        means = [(rate + shift, np.mean(accuracies)) for rate, accuracies in own.items() if accuracies]
        left.plot(*zip(*means, strict=True), "-", lw=1.4, color=COLOURS[number], label=model)
    for number, rate in enumerate(lost):
        some = [result for result in results if _model(result) == models[0] and _missing(result) == rate]
        for seed, result in enumerate(some):
            kept = result.history().dropna(subset=["train/loss"])
            label = None if seed else f"{rate:.0%} lost"
            right.plot(kept["step"], kept["train/loss"], lw=0.7, alpha=0.7, color=COLOURS[number], label=label)
    left.set(xlabel="share of values lost", ylabel="test accuracy", title="A dot a seed, a line the mean", xticks=lost)
    right.set(xlabel="step", ylabel="training loss", yscale="log", title=f"{models[0]}: a line a seed")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
    return figure


def _accuracies(results: Sequence[Result], model: str, rate: float) -> list[float]:
    return [r.metrics["test/accuracy"] for r in results if _model(r) == model and _missing(r) == rate]


def _model(result: Result) -> str:
    return str(result.config()["model"]["class_path"]).rpartition(".")[2]


def _missing(result: Result) -> float:
    return float(result.config()["data"]["init_args"]["missing"])

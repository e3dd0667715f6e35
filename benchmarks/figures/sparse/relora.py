"""The ReLoRA figure: the spectrum of what a training added to the weights, and its loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result

FLOOR = 1e-8  # what is below is rounding


def spectra(results: Sequence[Result]) -> Figure:
    """Singular values of the updates, over the greatest of each layer, and losses along training; every seed a line."""
    figure, (left, right) = panels(2)
    labels: dict[str, list[Result]] = {}
    for result in results:
        labels.setdefault(result.model, []).append(result)
    _singular_values(left, labels)
    _losses(right, labels)
    return figure


def _singular_values(axes: Axes, labels: Mapping[str, Sequence[Result]]) -> None:
    for colour, runs in zip(COLOURS, labels.values(), strict=False):
        for run in runs:
            spectrum = _spectrum(run)
            axes.plot(np.arange(1, len(spectrum) + 1), spectrum, color=colour, lw=1, alpha=0.8)
    axes.set(xlabel="$i$", ylabel=r"$\sigma_i / \sigma_1$", yscale="log")
    axes.set_title("Singular values of the update, mean over layers", fontsize=10)


def _spectrum(run: Result) -> np.ndarray:
    """The geometric mean over the layers that have the most common number of singular values; empty without updates."""
    values = [array[0] for name, array in run.arrays().items() if name.startswith("update/") and array.any()]
    common = max((len(v) for v in values), key=[len(v) for v in values].count, default=0)
    relative = [np.maximum(v / v.max(), FLOOR) for v in values if len(v) == common]
    return np.exp(np.log(relative).mean(0)) if relative else np.zeros(0)


def _losses(axes: Axes, labels: Mapping[str, Sequence[Result]]) -> None:
    for colour, (label, runs) in zip(COLOURS, labels.items(), strict=False):
        for number, run in enumerate(runs):
            curve = run.history().dropna(subset=["val/loss"])
            name = label.replace("_", " ") if number == 0 else None
            axes.plot(curve["step"] + 1, curve["val/loss"], color=colour, lw=1, alpha=0.8, label=name)
    axes.set(xlabel="step", ylabel="validation loss, nats a symbol")
    axes.set_title("Losses along training", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="upper right")

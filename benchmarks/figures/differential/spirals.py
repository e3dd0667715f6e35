"""The spirals figure: series with gaps, what a driven state thinks of them along the way, and the interpolations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result

SENSES = ("anticlockwise", "clockwise")  # of the labels
SHOWN = 24  # series of a panel


def driven(results: Sequence[Result]) -> Figure:
    """Two irregular series, the log-odds over time of many, and the loss of every label over training."""
    figure, (left, middle, right) = panels(3)
    labels = list(dict.fromkeys(result.model for result in results))
    last = next(result for result in results if result.model == labels[-1])
    arrays = {name: array[0] for name, array in last.arrays().items()}
    for number in range(2):
        _series(left, arrays["values"][number], arrays["mask"][number], number)
    left.set(aspect="equal", xlabel="x", ylabel="y", title="Two series, where both values are seen")
    left.legend(frameon=False, fontsize=8)
    odds = arrays["logits"][..., 0] - arrays["logits"][..., 1]
    for k in range(min(SHOWN, odds.shape[1])):
        middle.plot(arrays["times"][k], odds[:, k], "-", lw=0.8, color=COLOURS[int(arrays["labels"][k])])
    middle.axhline(0, color="0.6", lw=0.8)
    middle.set(xlabel="t", ylabel="log-odds of the first class", title=f"{last.model}: what the state says by then")
    for number, label in enumerate(labels):
        _losses(right, [r for r in results if r.model == label], label, COLOURS[number % len(COLOURS)])
    right.set(xlabel="step", ylabel="training loss", yscale="log", title="Interpolations")
    right.legend(frameon=False, fontsize=8)
    return figure


def _series(axes: Axes, values: np.ndarray, mask: np.ndarray, number: int) -> None:
    seen = mask.all(-1)
    axes.plot(
        *values[seen].T, "o-", ms=3, lw=0.8, color=COLOURS[number], label=("clockwise", "anticlockwise")[1 - number]
    )


def _losses(axes: Axes, results: Sequence[Result], label: str, colour: str) -> None:
    """The geometric mean over seeds of the training loss."""
    curves = []
    for result in results:
        history = result.history()
        kept = history.dropna(subset=["train/loss"])
        curves.append(kept["train/loss"].to_numpy())
        steps = kept["step"].to_numpy()
    axes.plot(steps, np.exp(np.log(np.stack(curves)).mean(0)), lw=1.2, color=colour, label=label)

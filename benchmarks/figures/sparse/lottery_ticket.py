"""The lottery ticket's figure: accuracy against the share of weights that is left."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.observables.sparse.lottery_ticket import rounds
from benchmarks.store import Result

NAMES = {"rewind": "weights put back to their start", "fresh": "weights drawn anew in each round"}


def accuracy(results: Sequence[Result]) -> Figure:
    """Accuracy on validation data after each round, by the weights that are left: every seed, and the mean."""
    figure, (axes,) = panels(1)
    for colour, label in zip(COLOURS, dict.fromkeys(result.model for result in results), strict=False):
        runs = [result for result in results if result.model == label]
        arguments = runs[0].config()["model"]["init_args"]
        curves = np.array([rounds(run) for run in runs])
        left = 100 * arguments["keep"] ** np.arange(curves.shape[1])
        axes.plot(left, curves.T, color=colour, lw=0.8, alpha=0.35)
        axes.plot(left, curves.mean(0), "o-", color=colour, ms=4, label=NAMES[arguments["restart"]])
    axes.axhline(float(curves[:, 0].mean()), color="0.5", lw=0.8, ls=":", label="unpruned")
    axes.set(xscale="log", xlabel="weights left, %", ylabel="accuracy on validation data")
    axes.invert_xaxis()
    axes.set_xticks([100, 50, 20, 10, 5, 3], ["100", "50", "20", "10", "5", "3"])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    return figure

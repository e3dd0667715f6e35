"""How much an ensemble disagrees on states like those of training, on shifted ones and on a dense graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.observables.graph.disagreement import LEVEL, measured
from benchmarks.store import Result


def disagreements(results: Sequence[Result]) -> Figure:
    """The distribution of the variance over five networks for each set of inputs, and where inputs are refused."""
    figure, (axes,) = panels(1)
    if not (found := measured(results)):
        return figure
    null = found.pop("train")
    axes.axvline(np.quantile(null, 1 - LEVEL), color="k", ls=":", lw=0.8, label="refused from here on")
    named = {"train": null, **found}
    for number, (name, d) in enumerate(named.items()):
        label = {"train": "training states", "dense": "dense graph"}.get(name, name.replace("shift_", "states + "))
        axes.ecdf(d, color=COLOURS[number % len(COLOURS)], label=label)
    axes.set(xscale="log", xlabel="variance over five networks", ylabel="share of inputs below")
    axes.legend(frameon=False, fontsize=8)
    return figure

"""The Mori-Zwanzig figure: the memory of a noisy network over its layers, and how much a layer lets through."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result


def decay(results: Sequence[Result]) -> Figure:
    """Norms of the memory of 1 … L layers at every noise, and the largest norm of a layer, for each label."""
    figure, (left, right) = panels(2)
    labels = list(dict.fromkeys(result.model for result in results))
    levels = sorted({_noise(result) for result in results})
    for number, level in enumerate(levels):
        runs = [r for r in results if r.model == labels[0] and _noise(r) == level]
        for place, run in enumerate(runs):
            memory = run.arrays()["memory"][0]
            label = f"noise {level:g}" if place == 0 else None
            left.semilogy(1 + np.arange(len(memory)), memory, lw=0.9, color=COLOURS[number], label=label)
    left.set(xlabel="layers", ylabel="norm of the memory", title=f"{labels[0]}: a line a seed")
    for number, label in enumerate(labels):
        for place, level in enumerate(levels):
            runs = [r for r in results if r.model == label and _noise(r) == level]
            values = [r.metrics["test/contraction"] for r in runs]
            name = label if place == 0 else None
            right.plot([level] * len(values), values, "o", ms=4, color=COLOURS[number], alpha=0.7, label=name)
    right.axhline(1, color="0.6", lw=0.8)
    right.set(xlabel="noise", ylabel="largest norm of a layer", title="Below 1, memory has to decay")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
    return figure


def _noise(result: Result) -> float:
    return float(result.config()["model"]["init_args"]["noise"])

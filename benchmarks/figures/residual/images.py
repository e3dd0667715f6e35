"""Figures of residual networks on images."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from benchmarks.figures.axes import panels
from benchmarks.store import Result


def learning(results: Sequence[Result]) -> Figure:
    """Validation accuracy and training loss along the epochs, a line a seed; dots are the test accuracies."""
    figure, (left, right) = panels(2, height=3.4)
    for position, result in enumerate(results):
        history, colour = result.history(), f"C{position % 10}"
        for axes, name, scale in ((left, "val/accuracy", 100), (right, "train/loss", 1)):
            curve = history.dropna(subset=[name])
            axes.plot(curve["epoch"] + 1, scale * curve[name], color=colour, lw=1.2, label=f"seed {result.seed}")
        left.scatter([history["epoch"].max() + 1.4], [100 * result.metrics["test/accuracy"]], color=colour, s=18)
    left.set(xlabel="epoch", ylabel="accuracy in %", title="Validation (lines) and test (dots)")
    right.set(xlabel="epoch", ylabel="loss", yscale="log", title="Training")
    left.legend(frameon=False, fontsize=8)
    return figure

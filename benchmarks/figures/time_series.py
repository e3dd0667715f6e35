"""Figures of the time-series family."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result


def accuracy(results: Sequence[Result]) -> Figure:
    """Test accuracy of every seed with its mean, and the running median of the training loss, model by model."""
    figure, (left, right) = panels(2, ratios=(2, 3))
    models = list(dict.fromkeys(result.model for result in results))
    for position, model in enumerate(models):
        own, colour = [result for result in results if result.model == model], COLOURS[position % len(COLOURS)]
        _dots(left, position, [100 * result.metrics["test/accuracy"] for result in own], colour)
        for number, result in enumerate(own):
            curve = result.history().dropna(subset=["train/loss"])
            smooth = curve["train/loss"].rolling(max(1, len(curve) // 50), center=True, min_periods=1).median()
            label = None if number else model
            right.plot(curve["epoch"], smooth, color=colour, lw=0.9, alpha=0.8, label=label)
    left.set(xticks=range(len(models)), xticklabels=models, xlim=(-0.6, len(models) - 0.4))
    left.set(ylabel="test accuracy in %", title="Every seed and the mean")
    right.set(xlabel="epoch", ylabel="training loss", yscale="log", title="Training loss, running median")
    right.legend(frameon=False, fontsize=8)
    return figure


def _dots(axes: Axes, position: int, values: Sequence[float], colour: str) -> None:
    offsets = [0.12 * (i - (len(values) - 1) / 2) for i in range(len(values))]
    axes.scatter([position + offset for offset in offsets], values, color=colour, s=22, zorder=3)
    mean = sum(values) / len(values)
    axes.hlines(mean, position - 0.35, position + 0.35, color=colour, lw=1.5)
    axes.annotate(f"{mean:.1f}", (position + 0.37, mean), va="center", fontsize=8, color=colour)

"""The missing-values figures: how accurate classifiers stay when more and more of a series is lost."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.figures.lost import accuracies, lost, model_of, models, share_of
from benchmarks.store import Result


def rates(results: Sequence[Result]) -> Figure:
    """Test accuracy of every model over the share of values lost, a dot a seed, and how the first model was trained."""
    figure, (left, right) = panels(2)
    found = models(results)
    accuracies(left, results, {model: (COLOURS[number], "") for number, model in enumerate(found)})
    for number, rate in enumerate(lost(results)):
        some = [result for result in results if model_of(result) == found[0] and share_of(result) == rate]
        for seed, result in enumerate(some):
            kept = result.history().dropna(subset=["train/loss"])
            label = None if seed else f"{rate:.0%} lost"
            right.plot(kept["step"], kept["train/loss"], lw=0.7, alpha=0.7, color=COLOURS[number], label=label)
    right.set(xlabel="step", ylabel="training loss", yscale="log", title=f"{found[0]}: a line a seed")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
    return figure

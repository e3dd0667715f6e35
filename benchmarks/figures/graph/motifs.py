"""The motif figure: test accuracy of each model over how often the companion came with the cause in training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result

APART = 0.006  # of mu: dots of different models lie side by side
NAMES = {"erm": "GIN, all graphs alike", "l2r": "L2R-GNN, four clusters", "ood": "OOD-GNN, every variable by itself"}


def accuracies(results: Sequence[Result]) -> Figure:
    """A dot a seed, a line the mean; and what was left of the graphs under the weights."""
    figure, (left, right) = panels(2)
    labels = list(dict.fromkeys(result.model for result in results))
    for number, label in enumerate(labels):
        shift, colour = APART * (number - (len(labels) - 1) / 2), COLOURS[number]
        for axes, metric in ((left, "test/accuracy"), (right, "train/effective")):
            own: dict[float, list[float]] = {}
            for result in results:
                if result.model == label and metric in result.metrics:
                    own.setdefault(float(result.config()["data"]["init_args"]["mu"]), []).append(result.metrics[metric])
            for mu, found in own.items():
                axes.plot([mu + shift] * len(found), found, "o", ms=3, color=colour, alpha=0.5)
            means = sorted((mu + shift, float(np.mean(found))) for mu, found in own.items())
            if means:
                axes.plot(*zip(*means, strict=True), "o-", ms=5, lw=1.4, color=colour, label=NAMES.get(label, label))
    left.set(title="A dot a seed, a line the mean", ylabel="test accuracy, the star says nothing")
    right.set(title="What the weights leave", ylabel="effective share of the graphs of a batch", ylim=(0, 1.02))
    for axes in (left, right):
        axes.set_xlabel("share of wheels with a star in training, mu")
    left.legend(frameon=False, fontsize=8)
    return figure

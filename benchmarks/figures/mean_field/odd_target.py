"""The odd-target figure: networks of finite width beside their infinite-width limit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result
from zoo.mean_field.infinite_width import odd_target_bound, odd_target_path


def decay(results: Sequence[Result]) -> Figure:
    """Distance to the best linear predictor and linearity defect against the step, over the infinite-width limit.

    The lines of Hajjar and Chizat's figure for odd targets: every seed of every width, the ODE and its bound.
    """
    figure, (left, right) = panels(2)
    config = results[0].config()
    dim, lr = config["data"]["init_args"]["dim"], config["model"]["init_args"]["lr"]
    every = config["callbacks"][0]["init_args"]["every"]
    limit = 1
    models = list(dict.fromkeys(result.model for result in results))
    for position, result in enumerate(results):
        arrays, colour = result.arrays(), COLOURS[models.index(result.model) % len(COLOURS)]
        first = result.model not in [r.model for r in results[:position]]
        label = f"{result.model}, width {result.config()['model']['init_args']['width']}" if first else None
        steps = every * np.arange(len(arrays["distance"]))
        left.plot(steps, arrays["distance"], color=colour, lw=1, alpha=0.7, label=label)
        epochs = result.steps / len(arrays["defect"]) * (1 + np.arange(len(arrays["defect"])))
        right.plot(epochs, arrays["defect"], color=colour, lw=1, alpha=0.7, label=label)
        limit = max(limit, int(steps[-1]))
    left.plot(odd_target_path(dim, lr, limit)[0], "k--", lw=1.5, label="infinite width (ODE)")
    left.plot(odd_target_bound(dim, lr, limit), color="0.6", ls=":", label="guaranteed bound")
    left.set(xlabel="step", ylabel=r"$\|w(t) - w^*\|$", yscale="log", title="Distance to the best linear predictor")
    right.set(xlabel="step", ylabel=r"mean $(f(x) - w(t)\cdot x)^2$", yscale="log", title="How far from linear")
    left.legend(frameon=False, fontsize=8)
    return figure

"""The deep-equilibrium figure: how the fixed point and its gradient are reached, and what stopping early costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result

SOLVERS = {"anderson": "Anderson", "iteration": "plain iteration"}


def convergence(results: Sequence[Result]) -> Figure:
    """Residuals of all seeds of the first label, and accuracies of all labels by the number of applications."""
    figure, (left, middle, right) = panels(3)
    labels = list(dict.fromkeys(result.model for result in results))
    own = [result for result in results if result.model == labels[0]]
    for axes, way, title in ((left, "forward", "The equilibrium"), (middle, "backward", "Its gradient")):
        for number, (solver, name) in enumerate(SOLVERS.items()):
            for seed, result in enumerate(own):
                curve = result.arrays()[f"{way}_{solver}"][0]
                steps = np.arange(1, len(curve) + 1)
                axes.plot(steps, curve, color=COLOURS[number], lw=1.2, alpha=0.7, label=None if seed else name)
        arguments = own[0].config()["model"]["init_args"]
        factor = arguments["contraction"]
        start = own[0].arrays()[f"{way}_iteration"][0][0]
        axes.plot(steps, start * factor ** (steps - 1), color="0.4", ls=":", label=f"{factor:g}$^k$")
        axes.axhline(arguments["tolerance"], color="0.7", lw=0.8, label="tolerance")
        axes.set(yscale="log", xlabel="evaluations of the layer", ylabel="largest residual of a sample", title=title)
        axes.set_ylim(bottom=arguments["tolerance"] / 5)
        axes.legend(frameon=False, fontsize=8)
    for number, label in enumerate(labels):
        curves = np.stack([result.arrays()["accuracy_at"][0] for result in results if result.model == label])
        right.plot(np.arange(1, curves.shape[1] + 1), curves.mean(0), color=COLOURS[number], lw=1.4, label=label)
    right.set(xlabel="applications of the layer", xscale="log", ylabel="test accuracy", title="Stopped early")
    right.legend(frameon=False, fontsize=8)
    return figure

"""The linear-flow figure: errors beside the closed forms, and Hutchinson's estimates beside their law."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result

ERRORS = {
    "logdet_error": "log-determinant",
    "flow_error": "end point, relative",
    "return_error": "forward and back, relative",
    "density_error": "log-density, relative",
}


def errors(results: Sequence[Result]) -> Figure:
    """Largest errors by dimension, and of each seed's Hutchinson estimates the mean and the variance by their law."""
    figure, (left, middle, right) = panels(3)
    dims = np.array([result.config()["data"]["init_args"]["dim"] for result in results], dtype=float)
    for number, (name, label) in enumerate(ERRORS.items()):
        shifted = dims * 1.05 ** (number - 1.5)
        left.plot(shifted, _metric(results, name), "o", color=COLOURS[number], ms=4, alpha=0.6, label=label)
    left.set(yscale="log", ylabel="largest error", title="Beside the closed forms, float32")
    for number, kind in enumerate(("rademacher", "gaussian")):
        shifted, colour = dims * 1.04 ** (2 * number - 1), COLOURS[number]
        for axes, name in ((middle, "deviates"), (right, "variance_ratio")):
            axes.plot(shifted, _metric(results, f"{kind}_{name}"), "o", color=colour, ms=4, alpha=0.6, label=kind)
    middle.axhline(np.sqrt(2 / np.pi), color="0.4", ls=":", label="expected")
    right.axhline(1, color="0.4", ls=":", label="expected")
    middle.set(ylabel="distance in standard errors", title="Mean of the estimated traces")
    right.set(ylabel="variance / closed form", title="Variance of the estimated traces")
    for axes in (left, middle, right):
        axes.set(
            xlabel="dimension",
            xscale="log",
            xticks=sorted(set(dims)),
            xticklabels=[f"{d:g}" for d in sorted(set(dims))],
        )
        axes.minorticks_off()
        axes.legend(frameon=False, fontsize=8)
    return figure


def _metric(results: Sequence[Result], name: str) -> np.ndarray:
    return np.array([result.metrics[f"test/{name}"] for result in results])

"""The latent ODE figure: spirals seen in part, and what models make of them in between and afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result

SHOWN = 2  # series
KINDS = ("reconstruction", "interpolation", "extrapolation", "refined")


def foretold(results: Sequence[Result]) -> Figure:
    """Test series of the first seed, with each label's forecasts of them at many times, and the errors over time."""
    firsts: dict[str, dict[str, Any]] = {}
    for result in results:
        firsts.setdefault(result.model, {name: array[0] for name, array in result.arrays().items()})
    figure, row = panels(SHOWN + 1, height=4.4)
    for k, axes in enumerate(row[:SHOWN]):
        _series(axes, next(iter(firsts.values())), k)
        for number, (label, arrays) in enumerate(firsts.items()):
            axes.plot(*arrays["refined"][k].T, lw=1.3, color=COLOURS[number], label=label)
        axes.set(
            aspect="equal", xlabel="x", ylabel="y", title=("Half a turn seen, another foretold", "Another series")[k]
        )
    row[0].legend(frameon=False, fontsize=8)
    _errors(row[-1], results)
    return figure


def _series(axes: Axes, arrays: dict[str, Any], k: int) -> None:
    whole = arrays["mask"][k].all(-1)
    axes.plot(*arrays["truth"][k].T, "o", ms=9, color="0.85", label="truth, at all times")
    axes.plot(*arrays["values"][k][whole].T, "o", ms=4, color="0.3", label="observed, both values")


def _errors(axes: Axes, results: Sequence[Result]) -> None:
    """Of the kinds of the test, means over seeds with every seed beside them."""
    for number, label in enumerate(dict.fromkeys(result.model for result in results)):
        own = [[r.metrics[f"test/{kind}"] for kind in KINDS] for r in results if r.model == label]
        places = np.arange(len(KINDS)) + 0.15 * (2 * number - 1)
        for errors in own:
            axes.plot(places, errors, ".", ms=4, color=COLOURS[number], alpha=0.5)
        axes.plot(places, np.mean(own, 0), "_", ms=16, mew=2, color=COLOURS[number], label=label)
    axes.set_xticks(range(len(KINDS)), [*KINDS[:3], "asked more\noften"], fontsize=8)
    axes.set(ylabel="root mean squared error", yscale="log", title="Errors to the truth, all seeds")

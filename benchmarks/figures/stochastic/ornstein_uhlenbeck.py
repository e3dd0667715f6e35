"""The Ornstein-Uhlenbeck figure: a path, what models tell of it, and their errors beside what can be told at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result

SHOWN = 0  # of the test series


def told(results: Sequence[Result]) -> Figure:
    """A test path of the first seed as each model tells it, and the test errors of all seeds beside two floors."""
    figure, (left, right) = panels(2)
    firsts: dict[str, dict[str, Any]] = {}
    for result in results:
        firsts.setdefault(result.model, {name: array[0][SHOWN] for name, array in result.arrays().items()})
    path = next(iter(firsts.values()))
    left.plot(path["times"], path["values"][:, 0], "o-", ms=4, lw=0.8, color="0.6", label="the path")
    for number, (label, own) in enumerate(firsts.items()):
        left.plot(own["times"], own["told"][:, 0], lw=1.3, color=COLOURS[number], label=label)
    left.set(xlabel="time, in units of the whole", ylabel="x", title="A path, and what models tell of it")
    left.legend(frameon=False, fontsize=8)
    _errors(right, results, list(firsts))
    return figure


def _errors(axes: Axes, results: Sequence[Result], labels: Sequence[str]) -> None:
    for number, label in enumerate(labels):
        own = [result.metrics["test/loss"] for result in results if result.model == label]
        axes.plot([number] * len(own), own, "o", ms=4, color=COLOURS[number], alpha=0.6)
    start, before = floors(results[0].config()["data"]["init_args"])
    for floor, text, side, place, above in (  # each where no dots are expected
        (start, "knowing the start alone:\nmean variance", "left", 0, False),
        (before, "knowing the value before:\nvariance of a step", "right", 1, True),
    ):
        axes.axhline(floor, color="0.4", lw=0.9, ls="--")
        look: dict[str, Any] = {"ha": side, "va": "bottom" if above else "top", "fontsize": 8}
        axes.annotate(text, (place, floor), (0, 3 if above else -3), ("axes fraction", "data"), "offset points", **look)
    axes.set_xticks(range(len(labels)), labels, fontsize=8)
    axes.set(ylabel="test mean squared error", ylim=(0, None), title="Errors, and the least ones: a dot a seed")


def floors(process: Mapping[str, Any]) -> tuple[float, float]:
    """The least mean squared errors over all times of what knows X_0 alone, and of what knows X_{k-1} at each step."""
    step = process["horizon"] / process["length"]
    k, a = np.arange(process["length"]), (1 - process["theta"] * step) ** 2
    noise = process["sigma"] ** 2 * step
    variance = noise * (k if a == 1 else (1 - a**k) / (1 - a))
    return float(variance.mean()), float(noise * (k > 0).mean())

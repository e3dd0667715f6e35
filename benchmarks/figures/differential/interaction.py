"""The Lotka-Volterra figure: trajectories solved by learned laws beside the true ones, and the interaction learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result

SHOWN = 3  # trajectories in the plane


def trajectories(results: Sequence[Result]) -> Figure:
    """The first seed of each label over time and in the plane, and the errors of all seeds over time."""
    figure, (left, middle, right) = panels(3)
    firsts: dict[str, Any] = {}
    errors: dict[str, list[np.ndarray]] = {}
    for result in results:
        arrays = result.arrays()
        states, solved = arrays["states"][0], arrays["solved"][0]
        firsts.setdefault(result.model, (states, solved))
        errors.setdefault(result.model, []).append(np.square(solved - states).mean((0, 2)))
    interval = results[0].config()["data"]["init_args"]["interval"]
    times = interval * np.arange(len(errors[results[0].model][0]))
    states = firsts[results[0].model][0]
    left.plot(times, states[0], color="0.7", lw=3)
    for k in range(SHOWN):
        middle.plot(*states[k].T, color="0.7", lw=3)
    for number, (label, (_, solved)) in enumerate(firsts.items()):
        left.plot(times, solved[0], color=COLOURS[number], lw=0.9)
        for k in range(SHOWN):
            middle.plot(*solved[k].T, color=COLOURS[number], lw=0.9)
        right.plot(times[1:], np.sqrt(np.mean(errors[label], 0))[1:], color=COLOURS[number], label=label)
    left.set(xlabel="t", ylabel="prey and predators", title="One trajectory (grey: true)")
    middle.set(xlabel="prey", ylabel="predators", title="Three of them")
    right.set(xlabel="t", ylabel="root mean squared error", yscale="log", title="Error, all trajectories and seeds")
    right.legend(frameon=False, fontsize=8)
    return figure

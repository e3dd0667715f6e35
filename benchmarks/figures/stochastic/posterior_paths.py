"""The posterior process figures: where its paths go between and beyond what was seen, and where they should."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result

PRIOR, POSTERIOR = "0.75", COLOURS[0]


def beyond(results: Sequence[Result]) -> Figure:
    """Paths and bands of the first seed over the prior's, and over time the deviation of all seeds' paths."""
    figure, (left, right) = panels(2, height=3.8)
    first = _arrays(results[0])
    times = first["times"]
    _band(left, times, first["prior_quantiles"], PRIOR, "prior")
    _band(left, times, first["quantiles"], POSTERIOR, "posterior")
    left.plot(times, first["paths"].T, lw=0.7, color=POSTERIOR, alpha=0.8)
    _seen(left, first)
    left.set(xlabel="t", ylabel="y", title="Paths, with 50 % and 95 % of all")
    for result in results:
        arrays = _arrays(result)
        low, high = arrays["quantiles"][[1, 3]]
        right.plot(
            times, high - low, lw=1, color=POSTERIOR, label="posterior, all seeds" if result is results[0] else None
        )
    low, high = first["prior_quantiles"][[1, 3]]
    right.plot(times, high - low, lw=1, color=PRIOR, label="prior")
    right.plot(times[first["mask"]], np.zeros(first["mask"].sum()), "|", color="k", label="seen")
    right.set(xlabel="t", ylabel="width of the middle half", title="What is not seen stays open")
    left.legend(frameon=False, fontsize=8)
    right.legend(frameon=False, fontsize=8, loc="center", bbox_to_anchor=(0.5, 0.72))
    return figure


def exact(results: Sequence[Result]) -> Figure:
    """The posterior process of the first two seeds beside the posterior in closed form, and the gaps of all."""
    figure, row = panels(3, height=3.8)
    for axes, result in zip(row[:2], results, strict=False):
        arrays = _arrays(result)
        times, mean, deviation = (arrays[name] for name in ("times", "exact_mean", "exact_deviation"))
        _band(axes, times, arrays["prior_quantiles"], PRIOR, "prior")
        _band(axes, times, arrays["quantiles"], POSTERIOR, "posterior process")
        for z, style in ((-1.96, "--"), (0, "-"), (1.96, "--")):
            axes.plot(
                times, mean + z * deviation, style, lw=1, color=COLOURS[1], label="exact, and 95 %" if z == 0 else None
            )
        _seen(axes, arrays)
        axes.set(xlabel="t", ylabel="y", title=f"Series of seed {result.seed}")
        axes.legend(frameon=False, fontsize=7)
    for result in results:
        row[2].plot(result.metrics["test/evidence"], result.metrics["test/elbo"], "o", ms=5, color=POSTERIOR)
    ends = np.array(row[2].get_xlim())
    row[2].plot(ends, ends, lw=1, color="k", label="the evidence")
    row[2].plot(ends, ends - results[0].metrics["test/floor"], "--", lw=1, color="k", label="the best of these steps")
    row[2].set(xlabel="log p(x)", ylabel="ELBO", title="One series a seed, nats")
    row[2].legend(frameon=False, fontsize=8)
    return figure


def _arrays(result: Result) -> dict[str, Any]:
    return {name: array[0] for name, array in result.arrays().items()}


def _band(axes: Axes, times: Any, quantiles: Any, colour: str, label: str) -> None:
    axes.fill_between(times, quantiles[0], quantiles[-1], color=colour, alpha=0.25, lw=0, label=label)
    axes.fill_between(times, quantiles[1], quantiles[-2], color=colour, alpha=0.35, lw=0)


def _seen(axes: Axes, arrays: dict[str, Any]) -> None:
    mask = arrays["mask"]
    axes.plot(arrays["times"][mask], arrays["values"][mask], "x", ms=5, color="k", label="seen", zorder=3)

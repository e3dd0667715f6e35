"""The SDE-GAN figure: paths beside those of the process, their law at some times, and how long they remember."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result

SHOWN = 24  # paths
PARTS = (0.1, 0.5, 0.9)  # of the interval, at which densities are shown
DATA, LABEL = "0.45", "clipped"


def laws(results: Sequence[Result]) -> Figure:
    """Paths, densities and autocorrelations of the first seed with the label of that name, beside the process."""
    firsts: dict[str, dict[str, Any]] = {}
    for result in results:
        firsts.setdefault(result.model, {name: array[0] for name, array in result.arrays().items()})
    arrays = firsts.get(LABEL) or next(iter(firsts.values()))
    figure, row = panels(4, height=3.8)
    _paths(row[0], arrays["paths"], arrays["moments"], DATA, "The process, mean and two deviations")
    _paths(row[1], arrays["made"], arrays["moments"], COLOURS[0], "The SDE-GAN, same lines")
    row[1].sharey(row[0])
    _densities(row[2], arrays)
    _correlations(row[3], firsts)
    return figure


def _paths(axes: Axes, paths: np.ndarray, moments: np.ndarray, colour: str, title: str) -> None:
    axes.plot(paths[:SHOWN].T, lw=0.6, color=colour)
    mean, deviation = moments[0], np.sqrt(moments[1])
    for shift, style in ((0, "-"), (-2, ":"), (2, ":")):
        axes.plot(mean + shift * deviation, style, lw=1.3, color="black")
    axes.set(xlabel="t", ylabel="Y", title=title)


def _densities(axes: Axes, arrays: dict[str, Any]) -> None:
    """Histograms of what is generated, and the outline of that of the process, in deviations of the latter."""
    for number, part in enumerate(PARTS):
        time = round(part * (arrays["paths"].shape[1] - 1))
        mean, deviation = arrays["moments"][0][time], np.sqrt(arrays["moments"][1][time])
        edges = np.linspace(-4, 4, 33)
        for name, style in (("made", {"color": COLOURS[0], "alpha": 0.5}), ("paths", {"color": "black"})):
            values = np.clip((arrays[name][:, time] - mean) / deviation, -4, 4)
            density, _ = np.histogram(values, edges, density=True)
            axes.stairs(density + number, edges, baseline=number, fill=name == "made", **style)
        axes.annotate(f"t = {time}", (4, number + 0.2), ha="right", fontsize=8)
    axes.set(xlabel="deviations of the process from its mean", yticks=[], title="Densities (outline: the process)")


def _correlations(axes: Axes, firsts: dict[str, dict[str, Any]]) -> None:
    paths = next(iter(firsts.values()))["paths"]
    lags = np.arange(paths.shape[1] // 2)
    axes.plot(lags, [_correlation(paths, lag) for lag in lags], color="black", lw=2, label="process")
    for number, (label, arrays) in enumerate(firsts.items()):
        axes.plot(lags, [_correlation(arrays["made"], lag) for lag in lags], color=COLOURS[number], label=label)
    axes.legend(frameon=False, fontsize=8)
    axes.set(xlabel="lag", title="Autocorrelation")


def _correlation(paths: np.ndarray, lag: int) -> float:
    """As `benchmarks.observables.stochastic.two_samples.autocorrelation`, of one lag."""
    u = paths - paths.mean(0)
    early, late = u[:, : u.shape[1] - lag], u[:, lag:]
    power = np.sqrt((early**2).mean(0) * (late**2).mean(0))
    return float((early * late).mean(0).sum() / power.sum())

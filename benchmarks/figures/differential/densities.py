"""The densities figures: what a flow has learned beside what the data are drawn from, and how it gets there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.store import Result

SIDE = 2.5  # inches of a panel
FLOOR = -8.0  # nats: what is less dense is drawn as this
SHOWN = 2_000  # samples of a panel


def flow(results: Sequence[Result]) -> Figure:
    """The first seed's flow from the base to the data over time, and the densities of every label."""
    labels = list(dict.fromkeys(result.model for result in results))
    firsts = {label: next(result for result in results if result.model == label) for label in labels}
    columns = max(4, 2 + len(labels))
    figure = Figure(figsize=(SIDE * columns, SIDE * 2.1), layout="constrained")
    axes = figure.subplots(2, columns)
    first = firsts[labels[0]]
    arrays, half = first.arrays(), _half(first)
    paths = arrays["paths"][0]
    for place, k in enumerate(np.linspace(0, len(paths) - 1, columns).round().astype(int)):
        _paths(axes[0, place], paths, int(k), half)
    _density(axes[1, 0], arrays["true_log_density"][0], half, "data, log density")
    _points(axes[1, 1], arrays["points"][0], half, "data, samples")
    for place, label in enumerate(labels):
        result = firsts[label]
        title = f"{label}, gap {result.metrics['test/gap']:.3f} nats"
        _density(axes[1, 2 + place], result.arrays()["log_density"][0], half, title)
    for unused in axes[1, 2 + len(labels) :]:
        unused.set_visible(False)
    return figure


def densities(results: Sequence[Result]) -> Figure:
    """For each density of a sweep, the data's and the first seed's log-densities, samples of both, and the flow."""
    names = list(dict.fromkeys(_name(result) for result in results))
    figure = Figure(figsize=(SIDE * 5, SIDE * 1.07 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), 5, squeeze=False)
    for row, name in zip(axes, names, strict=True):
        result = next(result for result in results if _name(result) == name)
        arrays, half = result.arrays(), _half(result)
        _density(row[0], arrays["true_log_density"][0], half, f"{name.replace('_', ' ')}, log density")
        _density(row[1], arrays["log_density"][0], half, f"learned, gap {result.metrics['test/gap']:.3f} nats")
        _points(row[2], arrays["points"][0], half, "data, samples")
        _points(row[3], arrays["samples"][0], half, "learned, samples")
        _paths(row[4], arrays["paths"][0], len(arrays["paths"][0]) - 1, half)
    return figure


def _name(result: Result) -> str:
    return str(result.config()["data"]["init_args"].get("name", "moons"))


def _half(result: Result) -> float:
    callbacks = [node["init_args"] for node in result.config()["callbacks"] if "half" in node["init_args"]]
    return float(callbacks[0]["half"]) if callbacks else 5.0


def _square(axes: Axes, half: float, title: str) -> None:
    axes.set(xlim=(-half, half), ylim=(-half, half), aspect="equal", xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)


def _density(axes: Axes, log_p: Any, half: float, title: str) -> None:
    shown = np.maximum(log_p.T, FLOOR)  # the second coordinate goes up
    axes.imshow(shown, origin="lower", extent=(-half, half, -half, half), vmin=FLOOR, vmax=-1.0, cmap="magma")
    _square(axes, half, title)


def _points(axes: Axes, points: Any, half: float, title: str) -> None:
    axes.plot(*points[:SHOWN].T, ".", color="#0072B2", ms=1.5, alpha=0.5)
    _square(axes, half, title)


def _paths(axes: Axes, paths: Any, until: int, half: float) -> None:
    """Where points of the base have come by a moment, (T, N, 2), with their ways."""
    axes.plot(paths[: until + 1, :, 0], paths[: until + 1, :, 1], color="0.6", lw=0.4, alpha=0.6)
    axes.plot(*paths[until].T, ".", color="#D55E00", ms=2.5)
    _square(axes, half, f"flow at t = {until / (len(paths) - 1):.2g} T")

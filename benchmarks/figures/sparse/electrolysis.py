"""The electrolysis study's figure: forecasts of dense and sparse ensembles, and what the sparse ones have found out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from benchmarks.figures.axes import COLOURS
from benchmarks.store import Result
from datamodules import Electrolysis
from datamodules._hall_heroult import derivative

SHOWN = "0.0003"  # the penalty whose forecasts are drawn, where it was run
STATES = {0: "side ledge, kg", 1: "alumina, kg", 5: "bath, °C"}
#: Of the dense ensemble, and those of rising penalties.
SHADES = (COLOURS[1], COLOURS[5], COLOURS[0], "black")
NAMES = [f"${name[0]}_{name[1]}$" for name in Electrolysis.columns]
Numbers = np.ndarray


def forecasts(results: Sequence[Result]) -> Figure:
    """One test trajectory under either ensemble above; below, which inputs are used and what they reach."""
    groups = {"dense": [r for r in results if r.model == "dense"]}
    for result in sorted((r for r in results if r.model == "sparse"), key=_penalty):
        groups.setdefault(f"{_penalty(result):g}", []).append(result)
    figure = Figure(figsize=(13, 7), layout="constrained")
    rows = figure.add_gridspec(2, 1)
    upper, lower = figure.add_subfigure(rows[0]), figure.add_subfigure(rows[1])
    for axes, (state, name) in zip(upper.subplots(1, len(STATES)), STATES.items(), strict=True):
        _courses(axes, groups, state)
        axes.set(xlabel="hours", title=name)
    left, right = lower.subplots(1, 2, width_ratios=(1, 1.15))
    _connections(left, groups)
    _structure(right, list(groups.values())[-1])
    return figure


def _courses(axes: Axes, groups: dict[str, list[Result]], state: int) -> None:
    """The true course, and of each ensemble the median and all but a tenth of the networks at either side."""
    true = next(iter(groups["dense"])).arrays()["true_course"][0, :, state]
    hours = np.linspace(0, 5000 * Electrolysis.interval / 3600, len(true))
    shown = SHOWN if SHOWN in groups else list(groups)[-1]
    for colour, label in zip(SHADES[::2], ("dense", shown), strict=True):
        courses = np.stack([run.arrays()["forecast"][0, :, state] for run in groups[label]])
        low, middle, high = np.nanquantile(courses, [0.1, 0.5, 0.9], axis=0)
        name = "dense" if label == "dense" else rf"sparse, $\lambda$ = {label}"
        axes.fill_between(hours, low, high, color=colour, alpha=0.2, lw=0)
        axes.plot(hours, middle, color=colour, lw=1, label=name)
    axes.plot(hours, true, color="black", lw=1, ls="--", label="cell")
    margin = 0.6 * (true.max() - true.min())  # lost forecasts leave the picture
    axes.set_ylim(true.min() - margin, true.max() + margin)
    axes.spines[["top", "right"]].set_visible(False)
    if state == 0:
        axes.legend(frameon=False, fontsize=8)


def _connections(axes: Axes, groups: dict[str, list[Result]]) -> None:
    """Units of the first layer that see each input, in the mean over an ensemble."""
    width = 0.8 / len(groups)
    for number, (colour, (label, runs)) in enumerate(zip(SHADES, groups.items(), strict=False)):
        means = np.mean([run.arrays()["connections"][-1] for run in runs], axis=0)
        places = np.arange(len(means)) + (number - (len(groups) - 1) / 2) * width
        name = "dense" if label == "dense" else rf"$\lambda$ = {label}"
        axes.bar(places, means, width, color=colour, label=name)
    axes.set_xticks(range(len(NAMES)), NAMES)
    axes.set(ylabel="units of the first layer", title="Inputs in use")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=len(groups), loc="upper center", bbox_to_anchor=(0.5, -0.1))


def _structure(axes: Axes, runs: Sequence[Result]) -> None:
    """The share of networks in which an input reaches an output; true dependencies are framed."""
    shares = np.mean([run.arrays()["reaches"][-1] for run in runs], axis=0)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in zip(*np.nonzero(dependencies()), strict=True):
        axes.add_patch(Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False, ec=COLOURS[1], lw=1.2))
    axes.set_xticks(range(shares.shape[1]), NAMES)
    axes.set_yticks(range(shares.shape[0]), [rf"$\dot x_{n + 1}$" for n in range(shares.shape[0])])
    penalty = _penalty(runs[0])
    axes.set_title(
        rf"Networks in which an input reaches an output, $\lambda$ = {penalty:g}; true ones framed", fontsize=10
    )
    axes.figure.colorbar(image, ax=axes, shrink=0.9)


def _penalty(result: Result) -> float:
    return float(result.config()["model"]["init_args"]["l1"])


def dependencies() -> Numbers:
    """Which rates depend on which states and inputs, (8, 13), by derivatives at a state in the midst of operation."""
    x = torch.tensor([3260, 450, 1500, 13_000, 9850, 975, 820, 580], dtype=torch.float64)
    u = torch.tensor([0, 140_000, 0, 0, 0.05], dtype=torch.float64)
    by_state, by_input = torch.func.jacrev(derivative, (0, 1))(x, u)
    return (torch.cat([by_state, by_input], dim=1) != 0).numpy()

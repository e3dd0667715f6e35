"""The figure of low-dimensional targets: the learnt function flattens while neurons turn to the target's subspace."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result
from zoo.mean_field.infinite_width import aligned_mass

SIGNS = {"plus": ">", "minus": "<"}


def alignment(results: Sequence[Result]) -> Figure:
    """f across the subspace as training goes on; masses and mean angles of network and reduced dynamics, every seed."""
    figure, (left, middle, right) = panels(3)
    _profiles(left, next(result for result in results if result.model == "network"))
    for name, axes in (("angle", middle), ("mass", right)):
        for result in (r for r in results if r.model == "fine_network"):
            _curves(axes, name, result, "network", lw=2.5, alpha=0.4)
        for result in (r for r in results if r.model == "angular"):
            _curves(axes, name, result, "reduced dynamics", color="black", ls="--", lw=0.7)
        axes.set(xlabel="step")
        axes.locator_params(axis="x", nbins=5)
        _legend(axes)
    dim, target_dim = _dims(next(r for r in results if r.model == "angular"))
    middle.axhline(math.pi / 2, color="0.6", ls=":")
    middle.set(ylabel="mean angle to $H$, by mass", ylim=(0, 1.7), title=rf"Neurons turn to $H$ or away, $d$ = {dim}")
    limit = aligned_mass(target_dim)
    right.axhline(limit, color="0.6", ls=":")
    right.annotate(f"{limit:.2f}: all in $H$", (0, limit), va="bottom", fontsize=8)
    right.set(
        ylabel=r"mass $\frac{1}{m} \sum |a_j| \|w_j\|$", yscale="log", title=rf"Positive mass takes over, $d$ = {dim}"
    )
    return figure


def _dims(result: Result) -> tuple[int, int]:
    arguments = result.config()["data"]["init_args"]
    return arguments["dim"], arguments["target_dim"]


def _profiles(axes: Axes, result: Result) -> None:
    config = result.config()
    arguments = next(c["init_args"] for c in config["callbacks"] if c["class_path"].endswith(".Profile"))
    r = np.linspace(0, 5, 100)
    axes.axhline(1, color="0.6", ls=":", label="target")
    for step, profile, colour in zip(sorted(arguments["at"]), result.arrays()["profile"], COLOURS, strict=False):
        axes.plot(r, profile, color=colour, label=f"step {step}")
    dim, target_dim = _dims(result)
    title = rf"Learnt function, $d$ = {dim}, $d_H$ = {target_dim}"
    axes.set(xlabel=r"$r$, across the subspace $H$", ylabel=r"$f(u + r\,e)$", title=title)
    axes.legend(frameon=False, fontsize=8)


def _curves(axes: Axes, name: str, result: Result, title: str, **style: Any) -> None:
    every = result.config()["callbacks"][0]["init_args"]["every"]
    for (sign, shown), colour in zip(SIGNS.items(), COLOURS, strict=False):
        curve = result.arrays()[f"{name}_{sign}"]
        label = title if "color" in style else f"{title}, $a_j {shown} 0$"
        axes.plot(every * np.arange(len(curve)), curve, label=label, **{"color": colour, **style})


def _legend(axes: Axes) -> None:
    """Each label once, although every seed has its line."""
    named = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(named.values(), named.keys(), frameon=False, fontsize=8)

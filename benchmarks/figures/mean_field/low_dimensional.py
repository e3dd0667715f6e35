"""The figure of low-dimensional targets: the learnt function flattens while neurons turn to the target's subspace."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result
from zoo.mean_field.infinite_width import aligned_mass

SIGNS = {"plus": COLOURS[0], "minus": COLOURS[1]}
LINES = {"fine_network": ("-", "network"), "angular": ("--", "reduced dynamics")}


def alignment(results: Sequence[Result]) -> Figure:
    """f across the subspace as training goes on; masses and mean angles of network and reduced dynamics, every seed."""
    figure, (left, middle, right) = panels(3)
    _profiles(left, next(result for result in results if result.model == "network"))
    for name, axes in (("angle", middle), ("mass", right)):
        for label, (style, title) in LINES.items():
            _curves(axes, name, [r for r in results if r.model == label], style, title)
        axes.set(xlabel="step")
        axes.legend(frameon=False, fontsize=8)
    middle.axhline(math.pi / 2, color="0.6", ls=":")
    middle.set(ylabel="mean angle to $H$, by mass", ylim=(0, 1.7), title="Neurons turn to $H$ or away from it")
    limit = aligned_mass(results[0].config()["data"]["init_args"]["target_dim"])
    right.axhline(limit, color="0.6", ls=":")
    right.annotate(f"{limit:.2f}: all in $H$", (0, limit), va="bottom", fontsize=8)
    right.set(ylabel=r"mass $\frac{1}{m} \sum |a_j| \|w_j\|$", yscale="log", title="Positive mass takes over")
    return figure


def _profiles(axes: Axes, result: Result) -> None:
    config = result.config()
    arguments = next(c["init_args"] for c in config["callbacks"] if c["class_path"].endswith(".Profile"))
    r = np.linspace(0, 5, 100)
    axes.axhline(1, color="0.6", ls=":", label="target")
    for step, profile, colour in zip(sorted(arguments["at"]), result.arrays()["profile"], COLOURS, strict=False):
        axes.plot(r, profile, color=colour, label=f"step {step}")
    dim, target_dim = (config["data"]["init_args"][name] for name in ("dim", "target_dim"))
    title = rf"$f(u + r\,e)$, $d$ = {dim}, $d_H$ = {target_dim}"
    axes.set(xlabel=r"$r$, across the subspace $H$", ylabel=r"$f(u + r\,e)$", title=title)
    axes.legend(frameon=False, fontsize=8)


def _curves(axes: Axes, name: str, results: Sequence[Result], style: str, title: str) -> None:
    for number, result in enumerate(results):
        every = result.config()["callbacks"][0]["init_args"]["every"]
        for sign, colour in SIGNS.items():
            curve = result.arrays()[f"{name}_{sign}"]
            label = f"{title}, $a_j {'>' if sign == 'plus' else '<'} 0$" if number == 0 else None
            axes.plot(every * np.arange(len(curve)), curve, style, color=colour, lw=1, alpha=0.7, label=label)

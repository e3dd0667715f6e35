"""Figures of how graph networks train: what their rate rests on, the loss and its bound, skip connections and depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result


def conditioning(results: Sequence[Result]) -> Figure:
    """sigma_min^2 over the number of sums over neighbours: of one scale dashed, of all scales up to it a full line."""
    figure, axes = panels(len(results))
    for panel, result in zip(axes, results, strict=True):
        arrays = result.arrays()
        scales = np.arange(arrays["smallest"].shape[-1])
        values = {
            name: np.where(arrays[name][-1] > 1e-20, arrays[name][-1], np.nan) for name in ("smallest", "stacked")
        }
        panel.plot(scales, values["stacked"], "o-", color=COLOURS[0], ms=4, label=r"$[X;\,XS;\,…;\,XS^l]$")
        panel.plot(scales, values["smallest"], "s--", color=COLOURS[1], ms=4, label=r"$XS^l$")
        for scale in scales[np.isnan(values["smallest"])]:
            panel.annotate("0", (scale, 0.02), xycoords=("data", "axes fraction"), color=COLOURS[1], ha="center")
        panel.set(xlabel="l", yscale="log", ylim=(1e-9, 0.1), xticks=scales, title=_named(result))
    axes[0].set(ylabel=r"$\sigma_{min}^2$ at the training nodes")
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def _named(result: Result) -> str:
    config = result.config()
    graphs = {"cora": "Cora", "citeseer": "CiteSeer", "pubmed": "PubMed"}
    operator = config["model"]["init_args"]["operator"]
    return f"{graphs[config['data']['init_args']['name']]}, {operator.upper()}"


def descent(results: Sequence[Result]) -> Figure:
    """The loss in each step of gradient descent, a line a seed, and its bound dotted; a panel for each step size."""
    rates = sorted({_rate(result) for result in results})
    figure, axes = panels(len(rates))
    for panel, rate in zip(axes, rates, strict=True):
        own = [result for result in results if _rate(result) == rate]
        labels = list(dict.fromkeys(result.model for result in own))
        for result in own:
            arrays, number = result.arrays(), labels.index(result.model)
            scales = result.config()["model"]["init_args"]["scales"]
            shown = (
                {"all": "with skip connections", "last": "last layer"}[scales] if result.seed == own[0].seed else None
            )
            panel.plot(arrays["loss"], color=COLOURS[number], lw=0.9, alpha=0.7, label=shown)
            panel.plot(arrays["bound"], ":", color=COLOURS[number], lw=1.2)
        panel.set(xlabel="step", yscale="log", title=f"lr {rate:g}")
    axes[0].set(ylabel="training loss (bound dotted)")
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def _rate(result: Result) -> float:
    return float(result.config()["model"]["init_args"]["lr"])


def depths(results: Sequence[Result]) -> Figure:
    """Training loss over steps of the first seed, a panel an operator and rate, with skip connections a full line."""
    first = min((result.seed for result in results), default=0)
    shown = [result for result in results if result.seed == first]
    kinds = list(dict.fromkeys((_argument(result, "operator"), _rate(result)) for result in shown))
    figure, axes = panels(len(kinds))
    for panel, (operator, rate) in zip(axes, kinds, strict=True):
        own = [result for result in shown if (_argument(result, "operator"), _rate(result)) == (operator, rate)]
        found = sorted({_argument(result, "depth") for result in own})
        for result in own:
            depth, skip = _argument(result, "depth"), _argument(result, "skip")
            shuffled = result.config()["data"]["init_args"]["shuffled"]
            style = ":" if shuffled else "-" if skip else "--"
            kind = "shuffled labels" if shuffled else "skip" if skip else "no skip"
            loss = result.history()["train/loss"].dropna().to_numpy()
            panel.plot(loss, style, color=COLOURS[found.index(depth)], lw=1.2, label=f"depth {depth}, {kind}")
        panel.set(xlabel="step", title=f"{operator.upper()}, lr {rate:g}")
        panel.legend(frameon=False, fontsize=7)
    axes[0].set(ylabel="training loss")
    return figure


def _argument(result: Result, name: str) -> Any:
    return result.config()["model"]["init_args"][name]

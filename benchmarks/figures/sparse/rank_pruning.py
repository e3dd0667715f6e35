"""The rank pruning figure: what is lost when trained networks are made low-rank, and the ranks that they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result

PREFIX = "test/drop_at_rank_"
STYLES = dict(zip(("plain", "pruned", "pruned_nuclear"), COLOURS[:3], strict=True))


def factorised(results: Sequence[Result]) -> Figure:
    """Accuracy lost by truncation at equal ranks, for each scheme, and the share of the rank that each layer keeps."""
    found: dict[str, dict[str, list[Result]]] = {"channel": {}, "spatial": {}}
    for result in results:
        scheme = "spatial" if result.model.endswith("_spatial") else "channel"
        found[scheme].setdefault(result.model.removesuffix("_spatial"), []).append(result)
    figure, (channel, spatial, ranks) = panels(3)
    for axes, (scheme, labels) in zip((channel, spatial), found.items(), strict=True):
        _losses(axes, labels)
        axes.set_title(f"Truncated after training, {scheme} scheme", fontsize=10)
    _ranks(ranks, found)
    return figure


def _losses(axes: Axes, labels: Mapping[str, Sequence[Result]]) -> None:
    """Every seed as a thin line, the means as thick ones; stars are at the ranks of nine tenths of the energy."""
    for label, runs in labels.items():
        names = [name for name in runs[0].metrics if name.startswith(PREFIX)]
        shares = [float(name.removeprefix(PREFIX)) for name in names]
        lost = 100 * np.array([[run.metrics[name] for name in names] for run in runs])
        axes.plot(shares, lost.T, color=STYLES[label], lw=0.7, alpha=0.4)
        axes.plot(shares, lost.mean(0), "o-", color=STYLES[label], ms=4, label=label.replace("_", ", "))
        own = [(run.metrics["test/rank_share"], 100 * run.metrics["test/factorised_drop"]) for run in runs]
        axes.plot(*np.mean(own, 0), "*", color=STYLES[label], ms=12, mec="white")
    axes.set(xlabel="rank / full rank of each layer", ylabel="points of accuracy lost")
    axes.legend(frameon=False, fontsize=8)


def _ranks(axes: Axes, found: Mapping[str, Mapping[str, Sequence[Result]]]) -> None:
    for scheme, style in (("channel", "-"), ("spatial", ":")):
        for label, runs in found[scheme].items():
            kept = np.stack([run.arrays()["ranks"][-1] for run in runs])
            share = (kept[..., 0] / kept[..., 1]).mean(0)
            place = 1 + np.arange(len(share))
            name = f"{label.replace('_', ', ')}, {scheme}"
            axes.plot(place, share, style, marker="o", ms=4, color=STYLES[label], label=name)
    axes.set(xlabel="convolution after the first", ylabel="rank / full rank", ylim=(0, 1.4))
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.set_title("Ranks that hold 90 % of the energy", fontsize=10)
    axes.legend(frameon=False, fontsize=7, ncols=2, loc="upper center")

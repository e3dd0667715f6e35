"""The depth-exponents figures: how trained weights scale with the depth, and how they change along the layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result

DEPTH = "model.init_args.depth"
SHOWN = (("product_max", "s"), ("product_increment", "o"))
KERNELS = (("weight", "A"), ("delta", r"\Delta"))  # of a block of convolutions, and their symbols


def exponents(results: Sequence[Result]) -> Figure:
    """Largest weight and largest increment against the depth with fitted powers, and increments along the deepest net.

    A colour is a model; dots are seeds.
    """
    labels = list(dict.fromkeys(result.model for result in results))
    depths = sorted(set(map(_depth, results)))
    figure, (left, middle, right) = panels(3, height=4.0)
    for number, label in enumerate(labels):
        own, colour = [r for r in results if r.model == label], COLOURS[number % len(COLOURS)]
        for axes, (metric, marker) in zip((left, middle), SHOWN, strict=True):
            _powers(axes, own, metric, marker, colour)
        _along(right, own, colour)
    left.set(title="Largest weight of a layer", ylabel=r"$\max_k\ \|\delta_k A_k\|$")
    middle.set(title="Largest increment between layers", ylabel=r"$\max_k\ \|\delta_{k+1} A_{k+1} - \delta_k A_k\|$")
    for axes in (left, middle):
        _over_depth(axes, depths)
    right.set(title="Increments along the deepest network", xlabel="k / L", yscale="log")
    right.set(ylabel=r"$\|\delta_{k+1} A_{k+1} - \delta_k A_k\|\ /\ \max_j \|\delta_j A_j\|$")
    return figure


def convolutions(results: Sequence[Result]) -> Figure:
    """Norms of both convolutions of a block against the depth with fitted powers, and all layers' at every depth.

    A colour is a convolution, a marker what is taken of its norms over the layers; dots are seeds.
    """
    depths = sorted(set(map(_depth, results)))
    figure, (left, middle, right) = panels(3, height=4.0)
    for number, (name, symbol) in enumerate(KERNELS):
        colour = COLOURS[number]
        _powers(left, results, f"{name}_max", "s", colour, rf"$\max_k \|{symbol}_k\|$")
        for metric, marker, label in (
            ("root_sum", "^", rf"$(\sum_k \|{symbol}_k\|^2)^{{1/2}}$"),
            ("increment", "o", rf"$\max_k \|{symbol}_{{k+1}} - {symbol}_k\|$"),
        ):
            _powers(middle, results, f"{name}_{metric}", marker, colour, label)
        for result in results:
            norms = result.arrays()[f"{name}_norms"][-1]
            shift = 1.015 ** (2 * number - 1)  # side by side, not one over the other
            right.plot(np.full(len(norms), _depth(result) * shift), norms, ".", color=colour, ms=2, alpha=0.5)
        right.plot([], [], ".", color=colour, label=rf"$\|{symbol}_k\|$")
    left.set(title="Largest norm of a layer", ylabel="norm of the convolution")
    middle.set(title="All layers, and neighbours")
    right.set(title="Every layer")
    for axes in (left, middle, right):
        _over_depth(axes, depths)
    return figure


def _over_depth(axes: Axes, depths: Sequence[int]) -> None:
    """Logarithmic axes with a legend, and as many depths named as there is room for."""
    named = [depth for n, depth in enumerate(depths) if len(depths) < 9 or n % 3 == 0 or depth == depths[-1]]
    axes.set(xlabel="depth L", xscale="log", yscale="log")
    axes.set_xticks(named, [str(depth) for depth in named])
    axes.xaxis.minorticks_off()
    axes.legend(frameon=False, fontsize=8)


def _powers(
    axes: Axes, results: Sequence[Result], metric: str, marker: str, colour: str, name: str | None = None
) -> None:
    """The metric of each seed, and its least-squares power of the depth, named in the legend."""
    found = [(_depth(r), r.metrics[f"test/{metric}"]) for r in results if f"test/{metric}" in r.metrics]
    if not found:
        return
    depths, values = np.array(found).T
    ends, name = np.unique(depths)[[0, -1]], name or results[0].model.replace("_", ", ")
    if ends[0] < ends[1]:
        slope, shift = np.polyfit(np.log(depths), np.log(values), 1)
        axes.plot(ends, np.exp(shift) * ends**slope, color=colour, lw=1.2)
        name = f"{name}: slope " + f"{slope:.2f}".replace("-", "−")
    axes.plot(depths, values, marker, color=colour, ms=3, alpha=0.5, label=name)


def _along(axes: Axes, results: Sequence[Result], colour: str) -> None:
    """The increments of the first seed's deepest network beside its largest weight."""
    deepest = max(results, key=lambda r: (_depth(r), -r.seed)).arrays()
    increments, norms = deepest["product_increments"][0], deepest["product_norms"][0]
    places = np.arange(1, len(norms)) / len(norms)
    axes.plot(places, increments / norms.max(), color=colour, lw=1)


def _depth(result: Result) -> int:
    return int(result.point.get(DEPTH) or result.config()["model"]["init_args"]["depth"])

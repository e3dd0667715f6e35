"""Figures of residual networks on their way to a neural ODE: over depth, along the layers, and in training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.observables.residual.deep_limit import errors, exponent
from benchmarks.store import Result

SYMBOLS = {"outer": "V", "inner": "W"}
SHOWN = (16, 128, 1024)  # depths that are drawn along their layers


def depth(results: Sequence[Result]) -> Figure:
    """Distance to the deep network, largest increments over depth, and the increments along the layers of one seed."""
    figure, (left, middle, right) = panels(3)
    _errors(left, results)
    for number, label in enumerate(("tied", "iid")):
        own = [result for result in results if result.model == label]
        for name, marker in (("outer", "o"), ("inner", "s")):
            points = np.array([(_depth(result), result.metrics[f"test/increment_{name}"]) for result in own])
            shown = f"${SYMBOLS[name]}$, {label}"
            middle.plot(*points.T, marker, color=COLOURS[number], ms=4, alpha=0.6, label=shown)
    middle.set(xlabel="depth L", ylabel="largest increment", xscale="log", yscale="log")
    middle.set(title="From a layer to the next")
    middle.legend(frameon=False, fontsize=8)
    _along(right, results)
    return figure


def _depth(result: Result) -> int:
    return int(result.config()["model"]["init_args"]["depth"])


def _errors(axes: Axes, results: Sequence[Result]) -> None:
    """Seeds as dots, and the line fitted to their mean."""
    for number, (name, by_depth) in enumerate(errors(results).items()):
        means = {depth: float(np.mean(list(by_seed.values()))) for depth, by_seed in sorted(by_depth.items())}
        points = [(depth, error) for depth, by_seed in by_depth.items() for error in by_seed.values()]
        label = f"${SYMBOLS[name]}$"
        axes.plot(*np.array(points).T, "o", color=COLOURS[number], ms=4, alpha=0.6, label=label)
        if len(means) > 1:
            power, depths = exponent(means), np.array(list(means))
            centre = np.exp(np.mean(np.log(list(means.values()))))
            line = centre * (depths / np.exp(np.log(depths).mean())) ** power
            axes.plot(depths, line, color=COLOURS[number], lw=1, label=f"slope {power:.2f}")
    axes.set(xlabel="depth L", ylabel="error", xscale="log", yscale="log", title="Distance to the deep network")
    axes.legend(frameon=False, fontsize=8)


def _along(axes: Axes, results: Sequence[Result]) -> None:
    """L ||V_{k+1} - V_k|| over k / L for the first seed: curves that meet where there is a limit."""
    first = min((result.seed for result in results), default=0)
    shown = sorted((r for r in results if r.seed == first), key=_depth)
    colours = dict(zip(SHOWN, COLOURS, strict=False))
    for result in (result for result in shown if _depth(result) in colours):
        style, label = (":", "iid") if result.model == "iid" else ("-", "tied")
        label = f"{label}, L = {_depth(result)}"
        axes.plot(*_scaled(result, "outer"), style, color=colours[_depth(result)], lw=1.2, label=label)
    axes.set(xlabel="k / L", ylabel=r"$L\,\|V_{k+1} - V_k\|$", yscale="log", title="Along the layers")
    axes.legend(frameon=False, fontsize=8)


def _scaled(result: Result, name: str) -> tuple[np.ndarray, np.ndarray]:
    """k / L and L times the increment from layer k to the next."""
    increments = result.arrays()[f"increments_{name}"][-1]
    layers = len(increments) + 1
    return np.arange(1, layers) / layers, layers * increments


def training(results: Sequence[Result]) -> Figure:
    """The loss along training, and the increments along the layers at its end, a line a seed."""
    figure, (left, right) = panels(2)
    for number, result in enumerate(results):
        loss, colour = result.arrays()["loss"], COLOURS[number % len(COLOURS)]
        left.plot(np.linspace(0, result.steps, len(loss), endpoint=False), loss, color=colour, lw=1.2)
        for name, style in (("outer", "-"), ("inner", "--")):
            label = f"${SYMBOLS[name]}$, seed {result.seed}"
            right.plot(*_scaled(result, name), style, color=colour, lw=1.2, label=label)
    left.set(xlabel="steps", ylabel="loss", yscale="log", title="Training loss")
    right.set(xlabel="k / L", ylabel="L × increment", title="Along the layers, after training")
    right.legend(frameon=False, fontsize=8)
    return figure


def images(results: Sequence[Result]) -> Figure:
    """The first entry of each convolution along the layers, inner and outer, and the outer increments; the first seed.

    A colour is a model; its accuracy on the test images stands in the legend.
    """
    figure, (left, middle, right) = panels(3)
    labels = list(dict.fromkeys(result.model for result in results))
    for number, label in enumerate(labels):
        result = min((r for r in results if r.model == label), key=lambda r: r.seed)
        arrays, colour, tied = result.arrays(), COLOURS[number % len(COLOURS)], not label.endswith("_iid")
        for axes, name in ((left, "inner"), (middle, "outer")):
            entry = arrays[f"{name}_entry"][-1]
            places = np.arange(len(entry)) / len(entry)
            axes.plot(places, entry, "-" if tied else ":", color=colour, lw=1.2 if tied else 0.7)
        shown = f"{label.replace('_', ', ')}: {100 * result.metrics['test/accuracy']:.1f} %"
        steps, norms = arrays["outer_increments"][-1], arrays["outer_norms"][-1]
        right.plot(
            np.arange(1, len(norms)) / len(norms), len(norms) * steps / norms.max(), color=colour, lw=1, label=shown
        )
    left.set(xlabel="k / L", ylabel="an entry of $W_k$", title="Inner convolution along the layers")
    middle.set(xlabel="k / L", ylabel="an entry of $V_k$", title="Outer convolution along the layers")
    right.set(
        xlabel="k / L",
        ylabel=r"$L\,\|V_{k+1} - V_k\|\ /\ \max_j \|V_j\|$",
        yscale="log",
        title="From a layer to the next",
    )
    right.legend(frameon=False, fontsize=8)
    return figure

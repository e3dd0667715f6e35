"""The permutation figures: what ensembles predict on average, and how large they have to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result
from zoo.mean_field.permutation_kernel import KERNELS, exact_probability, permutation_mean

NAMES = {"ntk": "tangent kernel", "random_features": "random features"}


def means(results: Sequence[Result]) -> Figure:
    """Mean predictions at bits that are one and zero, over the closed form, and the exactness of finite ensembles."""
    figure, (on, off, right) = panels(3)
    size = _data(results[0])["size"]
    ones = np.arange(1, size + 1)
    for colour, kernel in zip(COLOURS, KERNELS, strict=False):
        predicted = np.array([permutation_mean(kernel, size, int(n)) for n in ones])
        for axes, column in ((on, 0), (off, 1)):
            axes.plot(ones, predicted[:, column], color=colour, lw=1, label=f"{NAMES[kernel]}, closed form")
    for marker, label in zip("os^", dict.fromkeys(r.model for r in results), strict=False):
        runs = [r for r in results if r.model == label]
        colour = COLOURS[_kernel(runs[0])] if "kernel" in _hyper(runs[0]) else "black"
        for axes, metric in ((on, "test/mean_on"), (off, "test/mean_off")):
            x, y = [_data(r)["ones"] for r in runs], [r.metrics[metric] for r in runs]
            axes.plot(x, y, marker, color=colour, ms=5, mfc="none", label=label.replace("_", " "))
    off.axhline(0, color="0.6", lw=0.8)
    for axes, bit in ((on, "one"), (off, "zero")):
        axes.set(xlabel="ones in the input", ylabel="mean prediction", title=f"Bits that are {bit}, k = {size}")
    on.legend(frameon=False, fontsize=8)
    _finite(right, [r for r in results if "members" in _hyper(r)])
    return figure


def growth(results: Sequence[Result]) -> Figure:
    """Exactness against the number of networks for each size, and the networks needed against the size."""
    figure, (left, right) = panels(2)
    first = results[0].model
    sizes = sorted({_data(r)["size"] for r in results})
    for colour, size in zip(COLOURS, sizes, strict=False):
        for number, run in enumerate(r for r in results if r.model == first and _data(r)["size"] == size):
            exact = run.arrays()["exact"][0]
            left.plot(1 + np.arange(len(exact)), exact, color=colour, lw=0.8, alpha=0.6, label=_once(number, size))
        models = torch.arange(1, len(exact) + 1)
        chance = exact_probability(_hyper(run)["kernel"], size, _data(run)["ones"], models)
        left.plot(models, chance, "--", color=colour, lw=1.2)
    left.set(xscale="log", xlabel="networks averaged", ylabel="test inputs exactly right")
    left.set_title(f"{first.replace('_', ' ').capitalize()} (dashed: expected)", fontsize=10)
    left.legend(frameon=False, fontsize=8)
    _needed(right, results, sizes)
    return figure


def _needed(axes: Axes, results: Sequence[Result], sizes: Sequence[int]) -> None:
    for colour, label in zip(COLOURS, dict.fromkeys(r.model for r in results), strict=False):
        for style, metric in (("o-", "test/models_90"), ("^--", "test/models_99.9")):
            own = [r for r in results if r.model == label and metric in r.metrics]
            at = {k: [r.metrics[metric] for r in own if _data(r)["size"] == k] for k in sizes}
            drawn = {k: float(np.mean(values)) for k, values in at.items() if values}
            share = metric.rpartition("_")[2]
            name = f"{label.replace('_', ' ')}, {share} %"
            axes.plot(list(drawn), list(drawn.values()), style, color=colour, ms=4, label=name)
            axes.plot(
                [_data(r)["size"] for r in own], [r.metrics[metric] for r in own], ".", color=colour, ms=3, alpha=0.4
            )
    guide = np.array([min(sizes), max(sizes)])
    axes.plot(guide, 30 * (guide / guide[0]) ** 2, ":", color="0.5", label=r"order of the guarantee, $k^2$")
    axes.set(xscale="log", yscale="log", xlabel="bits k", ylabel="networks needed", title="Ensemble size")
    axes.set_xticks(sizes, [str(size) for size in sizes], minor=False)
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=7)


def _finite(axes: Axes, runs: Sequence[Result]) -> None:
    """Finite networks averaged one after another, beside the probability for the Gaussian process."""
    for number, run in enumerate(runs):
        exact = run.arrays()["exact"][0]
        models = torch.arange(1, len(exact) + 1)
        axes.plot(models, exact, color="black", lw=0.8, alpha=0.5, label=None if number else "finite networks")
    for colour, kernel in zip(COLOURS, KERNELS, strict=False):
        data = _data(runs[0])
        chance = exact_probability(kernel, data["size"], data["ones"], models)
        axes.plot(models, chance, "--", color=colour, label=f"{NAMES[kernel]}, expected")
    axes.set(xlabel="networks averaged", ylabel="test inputs exactly right", title="Ensembles of finite networks")
    axes.legend(frameon=False, fontsize=8)


def _data(result: Result) -> Mapping[str, Any]:
    arguments: Mapping[str, Any] = result.config()["data"]["init_args"]
    return arguments


def _hyper(result: Result) -> Mapping[str, Any]:
    arguments: Mapping[str, Any] = result.config()["model"]["init_args"]
    return arguments


def _kernel(result: Result) -> int:
    return KERNELS.index(_hyper(result)["kernel"])


def _once(number: int, size: int) -> str | None:
    return None if number else f"k = {size}"

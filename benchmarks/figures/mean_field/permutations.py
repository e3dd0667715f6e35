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
COLOUR = dict(zip(KERNELS, COLOURS, strict=False))


def means(results: Sequence[Result]) -> Figure:
    """Mean predictions at bits that are one and zero, over the closed form, and the exactness of finite ensembles."""
    figure, (on, off, right) = panels(3)
    for axes, bit, column in ((on, "one", 0), (off, "zero", 1)):
        _closed_form(axes, _data(results[0])["size"], column)
        for marker, label in zip("s^o", dict.fromkeys(r.model for r in results), strict=False):
            runs = [r for r in results if r.model == label]
            y = [r.metrics[f"test/mean_{'off' if column else 'on'}"] for r in runs]
            colour = COLOUR.get(_model(runs[0]).get("kernel", ""), "black")
            axes.plot([_data(r)["ones"] for r in runs], y, marker, color=colour, ms=6, mfc="none", label=_name(label))
        axes.set(xlabel="ones in the input", ylabel="mean prediction", title=f"Bits that are {bit}")
    on.legend(frameon=False, fontsize=8)
    _finite(right, [r for r in results if "members" in _model(r)])
    return figure


def growth(results: Sequence[Result]) -> Figure:
    """Exactness against the number of networks for each size, and the networks needed against the size."""
    figure, (left, right) = panels(2)
    label = results[0].model
    sizes = sorted({_data(r)["size"] for r in results})
    for colour, size in zip(COLOURS, sizes, strict=False):
        _exactness(left, [r for r in results if r.model == label and _data(r)["size"] == size], colour, f"k = {size}")
    left.set(xscale="log", xlabel="networks averaged", ylabel="test inputs exactly right")
    left.set_title(f"{_name(label).capitalize()} (dashed: expected)")
    left.legend(frameon=False, fontsize=8)
    for number, name in enumerate(dict.fromkeys(r.model for r in results)):
        _needed(right, [r for r in results if r.model == name], COLOURS[number])
    ends = np.array([sizes[0], sizes[-1]])
    right.plot(ends, 1000 * (ends / ends[0]) ** 2, ":", color="0.5", label="slope 2, the guarantee's")
    right.set(xscale="log", yscale="log", xlabel="bits k", ylabel="networks needed", title="Ensemble size")
    right.set_xticks(sizes, [str(size) for size in sizes])
    right.minorticks_off()
    right.legend(frameon=False, fontsize=7, loc="upper left")
    return figure


def _closed_form(axes: Axes, size: int, column: int) -> None:
    ones = range(1, size + 1)
    for kernel in KERNELS:
        predicted = [permutation_mean(kernel, size, n)[column] for n in ones]
        axes.plot(ones, predicted, color=COLOUR[kernel], lw=1, label=f"{NAMES[kernel]}, closed form")
    axes.axhline(0, color="0.6", lw=0.8)


def _exactness(axes: Axes, runs: Sequence[Result], colour: str, label: str) -> None:
    """The curve of every seed, and what is expected of Gaussian processes."""
    for number, run in enumerate(runs):
        exact = run.arrays()["exact"][0]
        name = None if number else label
        axes.plot(1 + np.arange(len(exact)), exact, color=colour, lw=0.8, alpha=0.6, label=name)
    for run in runs[:1]:
        kernel = _model(run).get("kernel", "random_features")
        models = torch.arange(1, len(exact) + 1)
        chance = exact_probability(kernel, _data(run)["size"], _data(run)["ones"], models)
        axes.plot(models, chance, "--", color=colour, lw=1.2)


def _needed(axes: Axes, runs: Sequence[Result], colour: str) -> None:
    """The mean over seeds for each share, with the range of seeds; shares that were not reached are left out."""
    for style, metric in (("o-", "test/models_90"), ("^--", "test/models_99.9")):
        needed: dict[int, list[float]] = {}
        for run in runs:
            if metric in run.metrics:
                needed.setdefault(_data(run)["size"], []).append(run.metrics[metric])
        if needed:
            means = {size: float(np.mean(values)) for size, values in sorted(needed.items())}
            ranges = [[abs(f(needed[k]) - m) for k, m in means.items()] for f in (min, max)]
            name = f"{_name(runs[0].model)}, {metric.rpartition('_')[2]} %"
            axes.errorbar(list(means), list(means.values()), ranges, fmt=style, color=colour, ms=4, lw=1, label=name)


def _finite(axes: Axes, runs: Sequence[Result]) -> None:
    _exactness(axes, runs, "black", "finite networks (dashed: expected)")
    axes.set(xlabel="networks averaged", ylabel="test inputs exactly right", title="Ensembles of finite networks")
    axes.legend(frameon=False, fontsize=8)


def _name(label: str) -> str:
    return label.replace("_", " ")


def _data(result: Result) -> Mapping[str, Any]:
    arguments: Mapping[str, Any] = result.config()["data"]["init_args"]
    return arguments


def _model(result: Result) -> Mapping[str, Any]:
    arguments: Mapping[str, Any] = result.config()["model"]["init_args"]
    return arguments

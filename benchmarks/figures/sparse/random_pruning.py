"""The random-pruning figure: sparse networks catch up with dense ones as both grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.observables.sparse.gaps import gaps
from benchmarks.store import Result

NAMES = {"blocks": "blocks in each stage", "width_multiplier": "width multiplier"}
Curves = Mapping[str, Mapping[float, Sequence[float]]]


def growth(results: Sequence[Result]) -> Figure:
    """Test accuracy, and what it lacks to the dense network's, against the width or the depth that is swept."""
    figure, (left, right) = panels(2)
    key, found = gaps(results)
    accuracies: dict[str, dict[float, list[float]]] = {}
    for result in sorted(results, key=lambda result: (result.model != "dense", result.model)):
        size = result.row["point"].get(key, 1)
        accuracies.setdefault(result.model, {}).setdefault(size, []).append(100 * result.metrics["test/accuracy"])
    colours = dict(zip(accuracies, COLOURS, strict=False))
    lacking = {name: {n: [100 * g for g in seeds.values()] for n, seeds in by.items()} for name, by in found.items()}
    _curves(left, accuracies, colours)
    _curves(right, lacking, colours)
    right.axhline(0, color="grey", lw=0.8)
    right.set_yscale("symlog", linthresh=1)  # a narrow network may lose whole classes, and gaps of nothing exist
    right.set_yticks(ticks := [-1, 0, 0.5, 1, 2, 5, 10, 20, 50], [f"{tick:g}" for tick in ticks])
    right.minorticks_off()
    lowest = min(gap for by_size in lacking.values() for seeds in by_size.values() for gap in seeds)
    right.set_ylim(bottom=min(-0.1, 1.1 * lowest))
    left.set_ylabel("test accuracy [%]")
    right.set_ylabel("gap to dense [points]")
    for axes in (left, right):
        _size_axis(axes, key.rpartition(".")[2], accuracies)
    left.legend(frameon=False)
    return figure


def _curves(axes: Axes, curves: Curves, colours: Mapping[str, str]) -> None:
    """Every seed as a dot, the means as lines."""
    for name, by_size in curves.items():
        sizes = sorted(by_size)
        for size in sizes:
            axes.plot([size] * len(by_size[size]), by_size[size], "o", color=colours[name], ms=3.5, alpha=0.5, mew=0)
        axes.plot(sizes, [sum(by_size[n]) / len(by_size[n]) for n in sizes], color=colours[name], label=name)


def _size_axis(axes: Axes, key: str, curves: Curves) -> None:
    sizes = sorted({size for by_size in curves.values() for size in by_size})
    axes.set_xlabel(NAMES.get(key, key))
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes.minorticks_off()

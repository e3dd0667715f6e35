"""The random search figure: what a search among node subsets changes, and what it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result
from benchmarks.verdicts import t_interval

MARGIN = 0.01
Swept = Mapping[float, Mapping[int, Result]]  # by sparsity and seed


def baseline(results: Sequence[Result]) -> Figure:
    """Accuracy by sparsity, paired differences beside the margin, and validation losses at the highest sparsity."""
    found = {label: _swept(results, label) for label in ("searched", "random")}
    parents = [result for result in results if result.model == "parent"]
    figure, (accuracy, difference, curves) = panels(3)
    _accuracy(accuracy, found, parents)
    _differences(difference, found["searched"], found["random"])
    _curves(curves, found)
    return figure


def _swept(results: Sequence[Result], label: str) -> Swept:
    found: dict[float, dict[int, Result]] = {}
    for result in results:
        if result.model == label:
            found.setdefault(result.config()["model"]["init_args"]["sparsity"], {})[result.seed] = result
    return dict(sorted(found.items()))


def _accuracy(axes: Axes, found: Mapping[str, Swept], parents: Sequence[Result]) -> None:
    """Every seed as a dot, the means as lines."""
    for colour, shift, (label, swept) in zip(COLOURS, (-0.1, 0.1), found.items(), strict=False):
        means = []
        for place, runs in enumerate(swept.values()):
            seeds = [run.metrics["test/accuracy"] for run in runs.values()]
            axes.plot([place + shift] * len(seeds), seeds, "o", color=colour, ms=3, alpha=0.4, mew=0)
            means.append(np.mean(seeds))
        axes.plot(np.arange(len(means)) + shift, means, color=colour, label=f"{label} subset")
    own = [run.metrics["test/accuracy"] for run in parents]
    axes.axhline(float(np.mean(own)), color=COLOURS[-1], ls="--", label="parent")
    _sparsities(axes, found["random"])
    axes.set(ylabel="test accuracy")
    axes.set_title("Accuracy after training", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="lower left")


def _differences(axes: Axes, searched: Swept, random: Swept) -> None:
    for place, sparsity in enumerate(random):
        pairs = random[sparsity].keys() & searched.get(sparsity, {}).keys()
        gains = [_gain(searched[sparsity][seed], random[sparsity][seed]) for seed in sorted(pairs)]
        low, high = t_interval(gains, 0.9) or (np.nan, np.nan)
        axes.plot([place] * len(gains), gains, "o", color=COLOURS[0], ms=3, alpha=0.4, mew=0)
        label = None if place else "90 % interval of the mean"
        axes.plot([place, place], [low, high], color=COLOURS[-1], lw=2, label=label)
    axes.axhspan(-MARGIN, MARGIN, color=COLOURS[2], alpha=0.15, lw=0, label="margin")
    _sparsities(axes, random)
    axes.set(ylabel="accuracy, searched less random")
    axes.set_title("Differences paired by seed", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _gain(searched: Result, random: Result) -> float:
    return searched.metrics["test/accuracy"] - random.metrics["test/accuracy"]


def _curves(axes: Axes, found: Mapping[str, Swept]) -> None:
    """The mean over seeds at the highest sparsity, and the band of one deviation."""
    sparsest = max(found["random"])
    for colour, (label, swept) in zip(COLOURS, found.items(), strict=False):
        losses = np.stack([run.history()["val/loss"].dropna().to_numpy() for run in swept[sparsest].values()])
        epochs, mean, spread = np.arange(1, losses.shape[1] + 1), losses.mean(0), losses.std(0)
        axes.plot(epochs, mean, color=colour, label=f"{label} subset")
        axes.fill_between(epochs, mean - spread, mean + spread, color=colour, alpha=0.15, lw=0)
    axes.set(xlabel="epoch", ylabel="validation loss", yscale="log")
    axes.set_title(f"Convergence at sparsity {sparsest:g}", fontsize=10)
    axes.legend(frameon=False, fontsize=8)


def _sparsities(axes: Axes, swept: Swept) -> None:
    axes.set_xticks(range(len(swept)), [f"{sparsity:g}" for sparsity in swept])
    axes.set_xlabel("sparsity of the hidden nodes")

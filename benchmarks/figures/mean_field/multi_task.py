"""The multi-task figure: what more tasks do to a shared representation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result


def transfer(results: Sequence[Result]) -> Figure:
    """The first layer outside the true directions along training, and probes against the number of training tasks."""
    figure, (left, right) = panels(2)
    trained: dict[int, list[Result]] = {}
    untrained: dict[str, list[Result]] = {}
    for result in results:
        config = result.config()
        if config["fit"]:
            trained.setdefault(config["data"]["init_args"]["tasks"], []).append(result)
        else:
            untrained.setdefault(result.model, []).append(result)
    _alignment(left, dict(sorted(trained.items())))
    _accuracy(right, dict(sorted(trained.items())), untrained)
    return figure


def _alignment(axes: Axes, trained: Mapping[int, Sequence[Result]]) -> None:
    for colour, (tasks, runs) in zip(COLOURS, trained.items(), strict=False):
        every = runs[0].config()["callbacks"][0]["init_args"]["every"]
        for number, run in enumerate(runs):
            share = run.arrays()["alignment"]
            label = f"T = {tasks}" if number == 0 else None
            axes.plot(every * np.arange(len(share)), 1 - share, color=colour, lw=1, alpha=0.7, label=label)
    axes.set(xlabel="step", ylabel=r"$1 - \|W_{:,1:r}\|^2 / \|W\|^2$", yscale="log")
    axes.set_title("Share of the first layer outside the true directions", fontsize=10)
    axes.legend(frameon=False, fontsize=8)


def _accuracy(axes: Axes, trained: Mapping[int, Sequence[Result]], untrained: Mapping[str, Sequence[Result]]) -> None:
    """Every seed as a dot, the means as lines."""
    for tasks, runs in trained.items():
        axes.plot([tasks] * len(runs), _probed(runs), "o", color=COLOURS[0], ms=4, alpha=0.5, mew=0)
    means = [np.mean(_probed(runs)) for runs in trained.values()]
    axes.plot(list(trained), means, color=COLOURS[0], label="trained on T tasks")
    for colour, style, (name, runs) in zip(COLOURS[1:], ("--", ":", "-."), untrained.items(), strict=False):
        seeds = _probed(runs)
        axes.axhline(float(np.mean(seeds)), color=colour, ls=style, label=name.replace("_", " "))
        axes.axhspan(min(seeds), max(seeds), color=colour, alpha=0.12, lw=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(trained), [str(tasks) for tasks in trained])
    axes.set(xlabel="training tasks T", ylabel="accuracy of linear probes")
    axes.set_title("New tasks, 500 samples each", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="center right")


def _probed(runs: Sequence[Result]) -> list[float]:
    return [run.metrics["test/probe_accuracy"] for run in runs]

"""Classifiers of series of which more and more is lost: the picture that several families draw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from benchmarks.store import Result

APART = 0.012  # of the share of values lost: dots of different models lie side by side


def accuracies(axes: Axes, results: Sequence[Result], looks: dict[str, tuple[str, str]]) -> None:
    """Test accuracy of each class of models over the share of values lost, a dot a seed, a line the mean.

    `looks` are a colour and a marker of the means for the classes that are drawn, in their order.
    """
    shares = lost(results)
    for number, (model, (colour, marker)) in enumerate(looks.items()):
        own = {rate: _accuracies(results, model, rate) for rate in shares}
        shift = APART * (number - (len(looks) - 1) / 2)
        for rate, found in own.items():
            axes.plot([rate + shift] * len(found), found, "o", ms=3, color=colour, alpha=0.5)
        means = [(rate + shift, np.mean(found)) for rate, found in own.items() if found]
        axes.plot(*zip(*means, strict=True), f"{marker}-", ms=6, lw=1.4, color=colour, label=model)
    axes.set(xlabel="share of values lost", ylabel="test accuracy", xticks=shares)
    axes.set_title("A dot a seed, a line the mean")


def models(results: Sequence[Result]) -> list[str]:
    """Names of the models' classes, in their order: a class may have several labels."""
    return list(dict.fromkeys(map(model_of, results)))


def lost(results: Sequence[Result]) -> list[float]:
    """The shares of values lost, ascending."""
    return sorted(set(map(share_of, results)))


def model_of(result: Result) -> str:
    """The name of a model's class."""
    return str(result.config()["model"]["class_path"]).rpartition(".")[2]


def share_of(result: Result) -> float:
    """The share of values lost."""
    return float(result.config()["data"]["init_args"]["missing"])


def _accuracies(results: Sequence[Result], model: str, rate: float) -> list[float]:
    return [r.metrics["test/accuracy"] for r in results if model_of(r) == model and share_of(r) == rate]

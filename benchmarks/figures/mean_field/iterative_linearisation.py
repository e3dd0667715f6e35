"""Training with features that change now and then."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result


def periods(results: Sequence[Result]) -> Figure:
    """Validation loss along training, and the test losses of f_lin and of the network itself, for every period K."""
    figure, (left, right) = panels(2, ratios=(3, 2))
    names = list(dict.fromkeys(map(_name, results)))
    for result in results:
        name, place = _name(result), names.index(_name(result))
        first = result is next(r for r in results if _name(r) == name)
        colour = COLOURS[place % len(COLOURS)]
        curve = result.history().dropna(subset=["val/loss"])
        left.plot(curve["step"] + 1, curve["val/loss"], color=colour, lw=1, alpha=0.8, label=name if first else None)
        network = result.metrics.get("test/network_loss", result.metrics["test/loss"])
        labels = ("linearised model", "network itself") if result is results[0] else (None, None)
        right.scatter([place - 0.12], [result.metrics["test/loss"]], color=colour, s=18, label=labels[0])
        right.scatter([place + 0.12], [network], edgecolors=colour, facecolors="none", s=18, label=labels[1])
    left.set(xlabel="step", ylabel="validation loss", yscale="log", title="The linearised model along training")
    left.legend(frameon=False, fontsize=8)
    right.set(ylabel="test loss", yscale="log", title="At the end")
    right.legend(frameon=False, fontsize=8)
    right.set_xticks(range(len(names)), [name.replace("linearised ", "") for name in names], rotation=30, fontsize=8)
    return figure


def _name(result: Result) -> str:
    """What a reader calls the training of a Result."""
    arguments = result.config()["model"]["init_args"]
    if "model" not in arguments:
        return "gradient descent"
    return f"linearised every {arguments['every']}" if arguments["every"] else "linearised once"

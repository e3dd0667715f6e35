"""Figures of the solvers: errors over steps and tolerances, and what a gradient costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result

STEPS, TOLERANCE = "model.init_args.steps", "model.init_args.tolerance"


def orders(results: Sequence[Result]) -> Figure:
    """Error of each fixed solver over its steps with the line of its order, and of the adaptive one over its cost."""
    figure, (left, right) = panels(2)
    powers = {"euler": 1, "midpoint": 2, "rk4": 4}
    for number, (label, power) in enumerate(powers.items()):
        steps, error = curve(results, label, STEPS, "error")
        left.loglog(steps, error, "o", ms=4, color=COLOURS[number], label=label)
        left.loglog(steps, error[:1] * (steps / steps[:1]) ** -power, "-", lw=0.8, color=COLOURS[number])
    left.set(xlabel="steps", ylabel="root mean squared error", title="Lines: errors that fall with the order")
    tolerances, error = curve(results, "dopri5", TOLERANCE, "error")
    _, evaluations = curve(results, "dopri5", TOLERANCE, "evaluations")
    right.loglog(evaluations, error, "o-", ms=4, color=COLOURS[3], label="dopri5")
    for x, y, tolerance in zip(evaluations, error, tolerances, strict=True):
        right.annotate(f"{tolerance:.0e}", (x, y), (4, 4), textcoords="offset points", fontsize=8)
    for number, (label, stages) in enumerate({"euler": 1, "midpoint": 2}.items()):
        steps, error = curve(results, label, STEPS, "error")
        right.loglog(stages * steps, error, "o-", ms=4, color=COLOURS[number], label=label)
    right.set(xlabel="evaluations", title="Adaptive steps at four tolerances")
    _finished(left, right)
    return figure


def gradients(results: Sequence[Result]) -> Figure:
    """Error of both gradients over the tolerance, and what each keeps over the number of steps."""
    figure, (left, right) = panels(2)
    ways = {"adjoint": "adjoint equation", "backpropagation": "through the steps"}
    for number, (label, name) in enumerate(ways.items()):
        left.loglog(*curve(results, label, TOLERANCE, "gradient_error"), "o-", ms=4, color=COLOURS[number], label=name)
        steps, kept = curve(results, f"{label}_rk4", STEPS, "saved_bytes")
        right.loglog(steps, kept / 1024, "o-", ms=4, color=COLOURS[number], label=name)
    left.set(xlabel="tolerance of dopri5", ylabel="relative error of the gradient")
    right.set(xlabel="steps of rk4", ylabel="KiB kept for the backward pass")
    _finished(left, right)
    return figure


def strong_orders(results: Sequence[Result]) -> Figure:
    """Strong errors over steps on geometric Brownian motion, in the sense of Ito and of Stratonovich."""
    figure, row = panels(2)
    senses: dict[str, dict[str, float]] = {
        "Ito": {"euler": 0.5, "milstein": 1, "srk": 1.5},
        "Stratonovich": {"midpoint": 1, "heun": 1, "reversible_heun": 1},
    }
    for axes, (sense, powers) in zip(row, senses.items(), strict=True):
        for number, (label, power) in enumerate(powers.items()):
            steps, error = curve(results, label, STEPS, "error")
            mark = "+" if label == "heun" else "o"  # on this equation both of these take the same steps
            axes.loglog(steps, error, mark, ms=9 if mark == "+" else 4, color=COLOURS[number], label=label)
            axes.loglog(steps, error[:1] * (steps / steps[:1]) ** -power, "-", lw=0.8, color=COLOURS[number])
        axes.set(xlabel="steps", title=f"In the sense of {sense}", xticks=steps, xticklabels=steps)
    row[0].set(ylabel="strong error")
    _finished(*row)
    return figure


def reversible(results: Sequence[Result]) -> Figure:
    """Error of the adjoint's gradient over the steps, and what both gradients keep."""
    figure, (left, right) = panels(2)
    for number, label in enumerate(("midpoint", "heun", "reversible_heun")):
        left.loglog(*curve(results, label, STEPS, "gradient_error"), "o-", ms=4, color=COLOURS[number], label=label)
    for number, (metric, name) in enumerate({"saved_bytes": "adjoint", "saved_by_steps": "through the steps"}.items()):
        steps, kept = curve(results, "reversible_heun", STEPS, metric)
        right.loglog(steps, kept / 1024, "o-", ms=4, color=COLOURS[number], label=name)
    left.set(xlabel="steps", ylabel="relative error of the adjoint's gradient", xticks=steps, xticklabels=steps)
    right.set(xlabel="steps of reversible_heun", ylabel="KiB that autograd keeps", xticks=steps, xticklabels=steps)
    _finished(left, right)
    return figure


def curve(results: Sequence[Result], label: str, key: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """The swept values of a label in order, and the geometric mean over seeds of a test metric at each."""
    found: Mapping[float, list[float]] = {
        value: [r.metrics[f"test/{metric}"] for r in results if r.model == label and r.point.get(key) == value]
        for value in sorted({r.point[key] for r in results if r.model == label and key in r.point})
    }
    return np.array(list(found)), np.array([np.exp(np.mean(np.log(values))) for values in found.values()])


def _finished(*row: Axes) -> None:
    for axes in row:
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.legend(frameon=False, fontsize=8)

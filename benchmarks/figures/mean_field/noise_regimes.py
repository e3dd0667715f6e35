"""How the noise of SGD and the number of samples set where a training ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result

Number = Callable[[Result], float]


def perceptron(results: Sequence[Result]) -> Figure:
    """|w| and t* against the number of points with the exponents of the theory, and |w| against the temperature."""
    figure, (norm, time, heat) = panels(3)
    for place, models in enumerate((("linear_density", "many_points"), ("gaussian",))):
        own = [result for result in results if result.model in models]
        for axes, name in ((norm, "weight_norm"), (time, "training_time")):
            x, y = averages(own, points, metric(name))
            axes.plot(x, y, "o-", color=COLOURS[place], ms=4, label=f"chi = {_chi(own):g}, T = {temperature(own[0]):g}")
            guide(axes, x, y, 1 / (1 + _chi(own)) if name == "weight_norm" else 1 + 2 / (1 + _chi(own)))
    for place, model in enumerate(("cold", "hot"), 2):
        x, y = averages([result for result in results if result.model == model], temperature, metric("weight_norm"))
        heat.plot(x, y, "o-", color=COLOURS[place], ms=4, label=f"{model}: lr = {_lr(results, model):g}")
        if model == "hot":
            guide(heat, x, y, 1.0)
    norm.set(xlabel="training points P", ylabel="|w| at zero loss", title="Weights (dotted: exponents of the theory)")
    time.set(xlabel="training points P", ylabel="t* = lr × steps", title="Training time")
    heat.set(xlabel="T = lr / B", ylabel="|w| at zero loss", title="Temperature")
    finish([norm, time, heat])
    return figure


def parity(results: Sequence[Result]) -> Figure:
    """Movement against alpha and against the temperature, and the test error against the temperature."""
    figure, (scale, heat, error) = panels(3)
    for place, model in enumerate(("features", "lazy")):
        x, y = averages([result for result in results if result.model == model], alpha, metric("movement"))
        scale.plot(x, y, "o-", color=COLOURS[place], ms=4, label=model)
        if model == "lazy":
            guide(scale, x, y, -1.0)
    for place, model in enumerate(("cold", "hot"), 2):
        own, colour = [result for result in results if result.model == model], COLOURS[place]
        x, y = averages(own, temperature, metric("movement"))
        heat.plot(x, y, "o-", color=colour, ms=4, label=model)
        if model == "hot":
            guide(heat, x, y, 1.0)
        error.plot(*averages(own, temperature, metric("error")), color=colour, label=f"{model}, mean over seeds (dots)")
        error.scatter(
            [temperature(r) for r in own], [r.metrics["test/error"] for r in own], color=colour, s=12, alpha=0.6
        )
    movement = r"$|w - w_0|\,/\,|w_0|$"
    scale.set(xlabel=r"$\alpha$", ylabel=movement, title="Movement by scale (dotted: slope -1)")
    heat.set(xlabel="T = lr / B", ylabel=movement, title=r"Movement by temperature, $\alpha$ = 1000")
    error.set(xlabel="T = lr / B", ylabel="test error", title=r"Test error, $\alpha$ = 1000")
    finish([scale, heat, error])
    error.set(yscale="linear")
    return figure


def averages(results: Iterable[Result], at: Number, value: Number) -> tuple[np.ndarray, np.ndarray]:
    """The geometric mean over seeds of a number, at every different abscissa."""
    found: dict[float, list[float]] = {}
    for result in results:
        found.setdefault(at(result), []).append(value(result))
    x = np.array(sorted(found))
    return x, np.array([np.exp(np.mean(np.log(found[place]))) if min(found[place]) > 0 else np.nan for place in x])


def guide(axes: Axes, x: np.ndarray, y: np.ndarray, exponent: float) -> None:
    """A power law through the last point."""
    axes.plot(x, y[-1] * (x / x[-1]) ** exponent, color="0.5", ls=":", lw=1)


def finish(row: Iterable[Axes]) -> None:
    """Logarithmic axes with a legend."""
    for axes in row:
        axes.set(xscale="log", yscale="log")
        axes.legend(frameon=False, fontsize=8)


def metric(name: str) -> Number:
    """A test metric of a Result."""
    return lambda result: result.metrics[f"test/{name}"]


def points(result: Result) -> float:
    """P."""
    return float(result.config()["data"]["init_args"]["size"])


def temperature(result: Result) -> float:
    """T = lr / B."""
    arguments = result.config()["model"]["init_args"]
    return float(arguments["lr"] / arguments["minibatch"])


def alpha(result: Result) -> float:
    """The scale of the predictor."""
    return float(result.config()["model"]["init_args"]["alpha"])


def _chi(results: Sequence[Result]) -> float:
    return float(results[0].config()["data"]["init_args"]["chi"])


def _lr(results: Iterable[Result], model: str) -> float:
    return float(next(r for r in results if r.model == model).config()["model"]["init_args"]["lr"])

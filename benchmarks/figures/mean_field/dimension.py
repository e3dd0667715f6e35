"""The figure of the input dimension: one target, more coordinates around it."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.store import Result


def losses(results: Sequence[Result]) -> Figure:
    """Validation loss over its initial value d_H / 2 against the step, every seed of every input dimension."""
    figure, (axes,) = panels(1)
    data = [result.config()["data"]["init_args"] for result in results]
    dims = sorted({arguments["dim"] for arguments in data})
    for number, (result, arguments) in enumerate(zip(results, data, strict=True)):
        loss = result.history().set_index("step")["val/loss"].dropna() / (arguments["target_dim"] / 2)
        first = arguments["dim"] not in [a["dim"] for a in data[:number]]
        label = f"$d$ = {arguments['dim']}" if first else None
        colour = COLOURS[dims.index(arguments["dim"]) % len(COLOURS)]
        axes.plot([0, *loss.index + 1], [1.0, *loss], color=colour, lw=1, alpha=0.7, label=label)
    title = f"A norm of {data[0]['target_dim']} coordinates among $d$"
    axes.set(xlabel="step", ylabel="loss / initial loss", yscale="log", title=title)
    axes.legend(frameon=False, fontsize=8)
    return figure

"""What a field learned on one network does elsewhere: other states, other sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.observables.graph.generalisation import SHIFTS, SIZES
from benchmarks.store import Result


def generalisation(results: Sequence[Result]) -> Figure:
    """True and learned rates of heat, first seed; errors of all over the shift; how errors cancel in a mean."""
    figure, (rates, shifts, sizes) = panels(3)
    first = next((result for result in results if result.model == "heat"), results[0]).arrays()
    for name, label, colour in (("_shifted", "states + 0.5", COLOURS[1]), ("", "states as in training", COLOURS[0])):
        rates.plot(first[f"truth{name}"].ravel(), first[f"learned{name}"].ravel(), ".", ms=2, color=colour, label=label)
    limits = rates.get_xlim()
    rates.plot(limits, limits, "k:", lw=0.8)
    rates.set(xlabel="true rate of a node", ylabel="learned rate", title="Heat, one network")
    rates.legend(frameon=False, markerscale=4)
    for number, model in enumerate(dict.fromkeys(result.model for result in results)):
        arrays = [result.arrays() for result in results if result.model == model]
        errors = np.mean([each["shift_errors"][-1] for each in arrays], axis=0)
        shifts.plot(SHIFTS, errors, ".-", color=COLOURS[number], label=model.replace("_", " "))
        found = np.mean([each["cancellation"][-1] for each in arrays], axis=0)
        sizes.loglog(SIZES, found, ".-", color=COLOURS[number])
    shifts.set(yscale="log", xlabel="added to every state", ylabel="mean absolute error", title="Other states")
    shifts.legend(frameon=False, fontsize=8)
    slope = np.array(SIZES) ** -0.5
    sizes.loglog(SIZES, 0.01 * slope / slope[0], "k:", lw=0.8, label="$n^{-1/2}$")
    sizes.set(xlabel="nodes n of the graph", ylabel="deviation of the mean error over nodes", title="Other sizes")
    sizes.legend(frameon=False)
    return figure

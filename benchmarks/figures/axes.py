"""What all figures share: colours that everyone can tell apart, and panels side by side."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito's


def panels(count: int, ratios: Sequence[float] | None = None, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    """A figure with panels in a row, without the frame lines above and on the right."""
    figure = Figure(figsize=(4.5 * count, height), layout="constrained")
    row = list(figure.subplots(1, count, squeeze=False, width_ratios=ratios)[0])
    for axes in row:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, row

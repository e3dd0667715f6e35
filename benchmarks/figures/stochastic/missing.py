"""The missing-values figures: stochastic equations that a series drives, beside other classifiers of it."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from benchmarks.figures.axes import COLOURS, panels
from benchmarks.figures.lost import accuracies, models
from benchmarks.store import Result

COLOURS_AND_MARKERS = tuple(zip((*COLOURS, "#999999", "#882255"), "os^Dv<>PX", strict=True))
STABLE = ("LangevinSDE", "LinearNoiseSDE", "GeometricSDE")
EQUATIONS = (*STABLE, "NeuralSDE", "NeuralCDE")


def rates(results: Sequence[Result]) -> Figure:
    """Test accuracy over the share of values lost: of differential equations, and of other models beside the first."""
    figure, row = panels(2, height=4.4)
    looks = dict(zip(models(results), COLOURS_AND_MARKERS, strict=False))
    equations = {model: look for model, look in looks.items() if model in EQUATIONS}
    others = {model: look for model, look in looks.items() if model in STABLE[:1] or model not in EQUATIONS}
    row[1].sharey(row[0])
    titles = ("Differential equations", "Other models, beside the first")
    for axes, shown, title in zip(row, (equations, others), titles, strict=True):
        accuracies(axes, results, shown)
        axes.set_title(f"{title}: a dot a seed", fontsize=10)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, frameon=False, fontsize=8)
    return figure

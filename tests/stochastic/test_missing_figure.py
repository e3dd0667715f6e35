"""The missing-values figure: a dot a seed and a line of means for each model, equations apart from other models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from benchmarks.figures.stochastic.missing import rates
from benchmarks.store import Result

SHARES = (0.0, 0.7)
MODELS = {
    "langevin": "zoo.stochastic.LangevinSDE",
    "linear_noise": "zoo.stochastic.LinearNoiseSDE",
    "geometric": "zoo.stochastic.GeometricSDE",
    "naive": "zoo.stochastic.NeuralSDE",
    "cde": "zoo.differential.NeuralCDE",
    "latent_ode": "zoo.differential.LatentODEClassifier",
    "gru_d": "zoo.time_series.GRUD",
    "gru_forward": "zoo.time_series.GRUForward",
    "boosted": "zoo.time_series.BoostedSummary",
}


@pytest.fixture
def results(tmp_path: Path) -> list[Result]:
    """Two seeds of each model at each share; the first model has a label of its own where nothing is lost."""

    def made() -> Iterator[Result]:
        for number, (label, path) in enumerate(MODELS.items()):
            for share in SHARES:
                for seed in (0, 1):
                    folder = tmp_path / f"{label}{share}{seed}"
                    folder.mkdir()
                    config = {"model": {"class_path": path}, "data": {"init_args": {"missing": share}}}
                    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
                    metrics = {"test/accuracy": (number + share + 0.1 * seed) / 10}
                    name = f"{label}_complete" if number == 0 and share == 0 else label
                    yield Result("id", "b", name, seed, status="finished", metrics=metrics, folder=str(folder))

    return list(made())


def means(axes: Axes) -> dict[str, list[float]]:
    """What the lines with a label show."""
    lines = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    return {str(line.get_label()): np.asarray(line.get_ydata()).tolist() for line in lines}


def test_lines_are_means_over_seeds_of_a_class(results: list[Result]) -> None:
    left, right = rates(results).axes
    names = [path.rpartition(".")[2] for path in MODELS.values()]
    expected = {name: pytest.approx([(n + s + 0.05) / 10 for s in SHARES]) for n, name in enumerate(names)}
    assert means(left) == {name: expected[name] for name in names[:5]}
    assert means(right) == {name: expected[name] for name in (names[0], *names[5:])}
    assert sum(np.size(line.get_xdata()) for line in left.lines) == 5 * (4 + 2)


def test_no_two_models_look_alike(results: list[Result]) -> None:
    lines = {str(line.get_label()): line for axes in rates(results).axes for line in axes.lines}
    looks = {name: (to_hex(line.get_color()), line.get_marker()) for name, line in lines.items() if name[0] != "_"}
    assert len(looks) == len(MODELS)
    for position in (0, 1):
        assert len({look[position] for look in looks.values()}) == len(MODELS)

"""The accuracy figure: a dot a seed, the mean, and the losses that were logged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection

from benchmarks.figures.time_series import accuracy
from benchmarks.store import Result

ACCURACIES = {"mlp": (0.90, 0.92), "fcn": (0.97, 0.98, 0.99)}


@pytest.fixture
def results(tmp_path: Path) -> list[Result]:
    """Runs of two models; every second row of a history is of the test."""
    made = []
    for model, values in ACCURACIES.items():
        for seed, value in enumerate(values):
            folder = tmp_path / f"{model}{seed}"
            folder.mkdir()
            rows = ["epoch,step,train/loss,test/accuracy", "0,4,1.0,", "1,8,0.1,", f"1,8,,{value}"]
            (folder / "history.csv").write_text("\n".join(rows), encoding="utf-8")
            metrics = {"test/accuracy": value}
            made.append(Result("id", "b", model, seed, status="finished", metrics=metrics, folder=str(folder)))
    return made


def test_every_seed_is_a_dot_beside_its_models_mean(results: list[Result]) -> None:
    left, right = accuracy(results).axes
    dots = [c.get_offsets().tolist() for c in left.collections if isinstance(c, PathCollection)]  # type: ignore[union-attr]
    means = [c.get_segments()[0][0][1] for c in left.collections if isinstance(c, LineCollection)]
    assert [[y for _, y in model] for model in dots] == [pytest.approx([90, 92]), pytest.approx([97, 98, 99])]
    assert means == pytest.approx([91, 98])
    assert [text.get_text() for text in left.texts] == ["91.0", "98.0"]
    assert [np.asarray(line.get_ydata()).tolist() for line in right.lines] == [[1.0, 0.1]] * 5
    legend = right.get_legend()
    assert legend is not None
    assert [label.get_text() for label in legend.get_texts()] == ["mlp", "fcn"]

"""Accuracy per non-zero parameter and over a range of sizes, and their figure."""

from __future__ import annotations

import pytest

from benchmarks.figures.sparse import pareto as figures
from benchmarks.observables.sparse.pareto import area, efficiency, pareto
from benchmarks.store import Result


def result(model: str, seed: int, density: float, nonzero: int, accuracy: float) -> Result:
    metrics = {"test/accuracy": accuracy, "test/nonzero": float(nonzero)}
    return Result("", "own", model, seed, {"density": density}, "finished", params=10**6, metrics=metrics)


@pytest.fixture
def results() -> list[Result]:
    """Of rigl, two seeds whose accuracies are linear in the logarithm of the size; beside a dense network."""
    found = [
        result("rigl", seed, 10.0**-k, 10 ** (6 - k), 0.9 - 0.1 * k - 0.02 * seed) for seed in (0, 1) for k in (2, 1)
    ]
    dense = [Result("", "own", "dense", seed, status="finished", params=10**6) for seed in (0, 1)]
    for one in dense:
        one.metrics["test/accuracy"] = 0.9
    return found + dense


def test_a_constant_accuracy_is_its_own_area_whatever_the_sizes() -> None:
    assert area({10: 0.7, 55: 0.7, 1e6: 0.7}) == pytest.approx(0.7, rel=1e-12)


def test_an_area_is_a_mean_over_the_logarithm() -> None:
    """Accuracies linear in the logarithm: that at the geometric mean of the smallest and the largest size."""
    assert area({1e4: 0.8, 1e2: 0.6, 1e3: 0.7}) == pytest.approx(0.7, rel=1e-12)
    # half of the decades at 0.5, and a rise to 0.9 over the others
    assert area({1e2: 0.5, 1e4: 0.5, 1e6: 0.9}) == pytest.approx((0.5 + 0.7) / 2, rel=1e-12)


def test_a_single_size_has_no_area() -> None:
    with pytest.raises(ValueError, match="two sizes or more, got 1"):
        area({100: 0.9})


def test_the_summary_has_efficiencies_at_points_and_areas_of_models(results: list[Result]) -> None:
    rows = {(row["model"], row["point"].get("density")): row for row in pareto(results)}
    assert len(rows) == 3
    # (70 + 68) / 2 % of ten thousand parameters, (80 + 78) / 2 % of a hundred thousand, 90 % of a million
    expected = {("rigl", 0.01): 6900, ("rigl", 0.1): 790, ("dense", None): 90}
    for key, value in expected.items():
        assert rows[key]["metrics"]["summary/efficiency"] == pytest.approx(value, rel=1e-9)
        assert rows[key]["n"] == 2
    # the means of 0.7 and 0.8, and of 0.68 and 0.78
    assert rows["rigl", 0.1]["metrics"]["summary/area"] == pytest.approx(0.74, rel=1e-9)
    assert "summary/area" not in rows["dense", None]["metrics"]
    assert efficiency(0.5, 1e6) == 50


def test_the_figure_takes_any_labels_and_draws_the_means(results: list[Result]) -> None:
    more = [result(f"later_{n}", 0, 0.1, 10**5, 0.5) for n in range(9)]
    left, middle, right = figures.pareto([*results, *more]).axes
    lines = {line.get_label(): line.get_ydata() for line in left.lines}
    assert lines["rigl"] == pytest.approx([69, 79])
    assert lines["later 8"] == pytest.approx([50])
    assert len(middle.lines) == 11
    assert [label.get_text() for label in right.get_yticklabels()] == ["rigl"]

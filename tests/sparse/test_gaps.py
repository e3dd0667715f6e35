"""Gaps to dense networks, and their ratios from one size to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.figures.sparse.random_pruning import growth
from benchmarks.observables.sparse.gaps import gaps, shrinking

KEY = "model.init_args.blocks"
DENSE = {1: (0.90, 0.92, 0.94), 2: (0.93, 0.95, 0.97), 4: (0.95, 0.96, 0.97)}
LESS = {1: (0.10, 0.06, 0.08), 2: (0.06, 0.04, 0.02), 4: (0.0, 0.01, 0.02)}


def results(less: Mapping[int, Sequence[float]] = LESS) -> list[Any]:
    """Networks that lack so much to the dense one of their size and seed."""
    made = []
    for size, accuracies in DENSE.items():
        for seed, accuracy in enumerate(accuracies):
            for model, value in (("erk", accuracy - less[size][seed]), ("dense", accuracy)):
                row = {"point": {KEY: size}}
                made.append(SimpleNamespace(model=model, seed=seed, row=row, metrics={"test/accuracy": value}))
    return made


def test_gaps_are_paired_by_size_and_seed() -> None:
    key, found = gaps(results())
    assert key == KEY
    assert set(found) == {"erk"}
    for size, by_seed in found["erk"].items():
        assert list(by_seed.values()) == pytest.approx(LESS[int(size)], abs=1e-12)


def test_ratios_are_of_mean_gaps_to_the_next_smaller_and_to_the_smallest() -> None:
    rows = {row["point"][KEY]: row for row in shrinking(results())}
    assert all(row["model"] == "erk" and row["n"] == 3 for row in rows.values())
    assert rows[1]["metrics"] == pytest.approx({"gap": 0.08})
    assert rows[2]["metrics"] == pytest.approx({"gap": 0.04, "gap_ratio": 0.5, "gap_of_first": 0.5})
    assert rows[4]["metrics"] == pytest.approx({"gap": 0.01, "gap_ratio": 0.25, "gap_of_first": 0.125})


def test_there_is_no_ratio_to_no_gap() -> None:
    rows = {row["point"][KEY]: row["metrics"] for row in shrinking(results(LESS | {2: (0.01, -0.01, -0.01)}))}
    assert set(rows[2]) == {"gap", "gap_ratio", "gap_of_first"}
    assert set(rows[4]) == {"gap", "gap_of_first"}


def test_a_network_without_a_dense_one_beside_it_has_no_gap() -> None:
    alone = [result for result in results() if (result.model, result.row["point"][KEY]) != ("dense", 2)]
    assert set(gaps(alone)[1]["erk"]) == {1, 4}


def test_without_a_sweep_there_is_one_gap() -> None:
    made = [result for result in results() if result.row["point"][KEY] == 2]
    for result in made:
        result.row["point"] = {}
    ((_, by_size),) = gaps(made)[1].items()
    assert list(by_size[1].values()) == pytest.approx(LESS[2], abs=1e-12)


def test_the_figure_shows_accuracies_and_gaps_in_points() -> None:
    left, right = growth(results()).axes
    assert [line.get_label() for line in left.lines if not str(line.get_label()).startswith("_")] == ["dense", "erk"]
    (curve,) = (line for line in right.lines if line.get_label() == "erk")
    assert np.asarray(curve.get_ydata()) == pytest.approx([8.0, 4.0, 1.0])
    assert left.get_xlabel() == "blocks in each stage"

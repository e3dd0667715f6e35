"""One Run trained alone and several in a stack, in this process, and what each left, compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import stack, tracking, train
from benchmarks.resume import Snapshots
from benchmarks.train import Outcome

HERE = "tests.benchmarks.stackable"
Weights = dict[str, torch.Tensor]
Left = tuple[Outcome, Weights, dict[Any, Any]]


def config(seed: int, **entries: Any) -> dict[str, Any]:
    """Five batches of eight an epoch; the data follow the seed."""
    data = entries.pop("data", {"class_path": f"{HERE}.Cloud"})
    return {
        "data": {**data, "init_args": {**data.get("init_args", {}), "seed": seed}},
        "model": {"class_path": f"{HERE}.Net", "init_args": {"in_features": 2}},
        "fit": True,
        "callbacks": [],
        "trainer": {"max_steps": 23},
        **entries,
    }


def left(outcome: Outcome, folder: Path, history: tracking.History) -> Left:
    weights = {} if outcome.error else torch.load(folder / "checkpoint.ckpt", weights_only=True)["state_dict"]
    return outcome, weights, history.rows


def loggers(history: tracking.History) -> train.Loggers:
    return lambda stage, first: [tracking.StageLogger(history, None, stage, first)]


def alone(seed: int, folder: Path, **entries: Any) -> Left:
    folder.mkdir(parents=True, exist_ok=True)
    history = tracking.History(folder / "history.csv")
    return left(train.run(config(seed, **entries), seed, folder, loggers=loggers(history)), folder, history)


def stacked(seeds: list[int], folder: Path, watching: Any = (), every: float = 0.0, **entries: Any) -> list[Left]:
    """What each Run of a stack leaves; from the stack's snapshot where there is one."""
    histories = [tracking.History(folder / str(seed) / "history.csv") for seed in seeds]
    members = []
    for seed, history in zip(seeds, histories, strict=True):
        (folder / str(seed)).mkdir(parents=True, exist_ok=True)
        members.append(stack.Member(config(seed, **entries), seed, folder / str(seed), loggers(history)))
    snapshots = Snapshots(folder / "resume.ckpt", every, histories, {"attempts": 0})
    snapshots.load()
    outcomes = stack.run(members, callbacks=watching, snapshots=snapshots)
    return [left(o, m.folder, h) for o, m, h in zip(outcomes, members, histories, strict=True)]


def assert_close(one: Left, other: Left, tolerance: float) -> None:
    (outcome, weights, rows), (again, weights_again, rows_again) = one, other
    assert outcome.error == again.error == ""
    assert (outcome.steps, outcome.params) == (again.steps, again.params)
    assert again.metrics == pytest.approx(outcome.metrics, rel=tolerance, abs=tolerance)
    assert weights.keys() == weights_again.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(weights_again[name], tensor, rtol=tolerance, atol=tolerance)
    assert outcome.arrays.keys() == again.arrays.keys()
    for name, array in outcome.arrays.items():
        torch.testing.assert_close(again.arrays[name], array, rtol=tolerance, atol=tolerance)
    assert rows.keys() == rows_again.keys()
    assert all(rows_again[at] == pytest.approx(row, rel=tolerance, abs=tolerance) for at, row in rows.items())


def assert_same(one: Left, other: Left) -> None:
    (outcome, weights, rows), (again, weights_again, rows_again) = one, other
    assert outcome.metrics == again.metrics
    assert rows == rows_again
    assert all(torch.equal(tensor, weights_again[name]) for name, tensor in weights.items())
    assert all(torch.equal(array, again.arrays[name]) for name, array in outcome.arrays.items())


def optimizer(name: str, **arguments: Any) -> dict[str, Any]:
    return {"optimizer": {"class_path": f"torch.optim.{name}", "init_args": arguments}}

"""What cannot train in a stack is known before anything starts: it trains one by one, or is bad input with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.build import class_at
from benchmarks.grouping import stackable
from benchmarks.problems import BadInput
from tests.benchmarks.stacking import HERE, config, optimizer, stacked
from tests.benchmarks.test_stacked_suites import REFUSED, nets, planned, sizes
from zoo._stackable import refusal

BATCH = (torch.randn(4, 2), torch.randn(4))


@pytest.mark.parametrize("name", ["Transferred", "SetUp", "Loading", "Plain"])
def test_data_with_hooks_or_loaders_of_their_own_train_one_by_one(name: str, tmp_path: Path) -> None:
    data = {"class_path": f"{REFUSED}.{name}"}
    assert not stackable(config(0, data=data))
    assert sizes(nets(data=data), tmp_path) == [1, 1, 1]


def test_data_with_a_loader_are_stacked() -> None:
    assert stackable(config(0, data={"class_path": f"{HERE}.Doubled"}))


def test_an_optimiser_derived_from_an_element_wise_one_is_none() -> None:
    own = {"optimizer": {"class_path": f"{REFUSED}.Scaling", "init_args": {"lr": 0.05}}}
    assert stackable(config(0, **optimizer("SGD", lr=0.05)))
    assert not stackable(config(0, **own))


REASONS = {
    "Scaled": "its optimiser Scaling is not element-wise",
    "Scheduled": "its schedule follows a metric",
    "Listed": "its configure_optimizers cannot be used: expected one optimiser or a mapping with one, got tuple",
    "Replacing": "its step cannot be mapped over replicas: it replaces average, which has to be changed in place",
    "ReplacingLater": "its step cannot be mapped over replicas: it replaces last, which has to be changed in place",
    "Prepared": "it defines setup, which is not called for a stack",
    "Calling": "it defines configure_callbacks, which is not called for a stack",
}


@pytest.mark.parametrize("name", REASONS)
def test_a_model_is_refused_with_the_reason(name: str) -> None:
    assert refusal(class_at(f"{REFUSED}.{name}")(2), BATCH) == REASONS[name]


def test_what_a_benchmark_replaces_is_not_looked_at(tmp_path: Path) -> None:
    other = optimizer("SGD", lr=0.05)
    for name in ("Searching", "Scaled", "Scheduled", "Listed"):
        assert sizes(nets(models={"net": {"class_path": f"{REFUSED}.{name}"}}, **other), tmp_path) == [3]
    steps = {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 1}}
    scheduled = {"net": {"class_path": f"{REFUSED}.Scheduled"}}
    assert sizes(nets(models=scheduled, lr_scheduler=steps), tmp_path) == [3]
    with pytest.raises(BadInput, match="its schedule follows a metric"):
        planned(nets(models=scheduled), tmp_path)


def test_an_optimiser_that_takes_a_trainer_to_make_is_refused_when_it_is_made(tmp_path: Path) -> None:
    late: dict[str, Any] = {"model": {"class_path": f"{REFUSED}.Late", "init_args": {"in_features": 2}}}
    assert refusal(class_at(f"{REFUSED}.Late")(2), BATCH) == ""
    with pytest.raises(ValueError, match="Late cannot train in a stack: its optimiser Scaling is not element-wise"):
        stacked([0, 1], tmp_path, **late)

"""Sweeps: one Run for each point, overrides by label, claims over the sweep."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from benchmarks import plan, resolve
from benchmarks.problems import BadInput
from benchmarks.schema import read_benchmark
from tests.benchmarks.conftest import Invoke

LR = "model.init_args.lr"


def planned(document: dict[str, Any], **settings: Any) -> plan.Plan:
    benchmark = read_benchmark("own", Path("own.yaml"), copy.deepcopy(document), settings)
    return plan.make([(benchmark, True)])


def test_every_point_and_seed_has_its_run(document: dict[str, Any]) -> None:
    document["claims"] = []
    document["models"]["slow"]["sweep"] = {LR: [0.1, 0.2], "data.init_args.batch_size": [8, 16]}
    runs = [run for run in planned(document).runs if run.model == "slow"]
    assert len(runs) == len({run.id for run in runs}) == 2 * 2 * 3
    for run in runs:
        assert run.config["model"]["init_args"]["lr"] == run.point[LR]
        assert run.config["data"]["init_args"]["batch_size"] == run.point["data.init_args.batch_size"]
        assert run.config["data"]["init_args"]["seed"] == run.seed


def test_a_model_is_tried_once_for_what_leaves_it_and_its_batches_as_they_are(
    document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def misfit(*arguments: Any) -> str:
        tried.append(arguments)
        return ""

    monkeypatch.setattr(resolve, "_misfit", misfit)
    document |= {"claims": [], "sweep": {"data.init_args.size": [8, 16, 32]}}
    assert len(planned(document).runs) == 2 * 3 * 3
    assert len(tried) == 2  # of lr 0.01 and of lr 0.1


def test_what_is_tried_on_the_host_is_tried_for_each_label(document: dict[str, Any]) -> None:
    equilibrium = {"class_path": "zoo.differential.DeepEquilibrium", "init_args": {"hidden_features": 6}}
    hasty = {**equilibrium, "init_args": {"hidden_features": 6, "max_iterations": 1}}
    document |= {"claims": [], "data": {"class_path": "datamodules.Digits"}, "models": {"a": equilibrium, "b": hasty}}
    with pytest.raises(BadInput, match="after 1 iterations") as refused:
        planned(document)
    assert "models.b" in str(refused.value)
    assert "models.a" not in str(refused.value)


def test_a_sweep_reaches_the_arguments_of_callbacks(document: dict[str, Any]) -> None:
    nodes = [{"class_path": "benchmarks.selection.FiniteLoss"} for _ in range(2)]
    document |= {"claims": [], "callbacks": nodes, "sweep": {"callbacks.1.init_args.every": [3, 7]}}
    document["models"]["fast"] |= {"callbacks": [], "sweep": {}}
    runs = planned(document).runs
    assert len({run.id for run in runs}) == len(runs) == 2 * 3 + 3
    for run in runs:
        every = [callback["init_args"]["every"] for callback in run.config["callbacks"]]
        assert every == ([50, run.point["callbacks.1.init_args.every"]] if run.model == "slow" else [])


def test_a_label_overrides_what_the_benchmark_says(document: dict[str, Any]) -> None:
    document["trainer"]["gradient_clip_val"] = 1.0
    document["models"]["slow"] |= {"trainer": {"max_epochs": 7}, "data": {"class_path": "tests.benchmarks.shapes.Line"}}
    by_label = {run.model: run.config for run in planned(document).runs}
    assert by_label["slow"]["trainer"] == {"max_epochs": 7, "gradient_clip_val": 1.0}
    assert by_label["fast"]["trainer"] == {"max_epochs": 2, "gradient_clip_val": 1.0}
    assert by_label["slow"]["data"]["init_args"]["size"] == 64
    assert by_label["fast"]["data"]["init_args"]["size"] == 32


def test_settings_reach_the_runs(document: dict[str, Any]) -> None:
    runs = planned(document, **{"models.slow.init_args.lr": 0.5, "seeds": 1}).runs
    assert [run.config["model"]["init_args"]["lr"] for run in runs] == [0.5, 0.1]


def test_a_setting_reaches_the_labels_that_override_it(document: dict[str, Any]) -> None:
    document["models"]["slow"]["trainer"] = {"max_epochs": 7}
    document["models"]["slow"]["data"] = {"class_path": "tests.benchmarks.shapes.Line"}
    settings = {"trainer.max_epochs": 1, "data.init_args.size": 16}
    for run in planned(document, **settings).runs:
        assert run.config["trainer"]["max_epochs"] == 1
        assert run.config["data"]["init_args"]["size"] == 16


def test_a_schedule_with_a_number_of_steps_goes_step_by_step(document: dict[str, Any]) -> None:
    arguments = {"max_lr": 0.1, "total_steps": 4}
    schedule = {"class_path": "torch.optim.lr_scheduler.OneCycleLR", "init_args": arguments}
    assert planned(document | {"lr_scheduler": schedule}).runs[0].config["lr_scheduler"]["interval"] == "step"


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"modell.init_args.lr": [1]}, "expected a key like model.init_args.depth, got 'modell.init_args.lr'"),
        ({LR: 0.1}, "expected a list of values, got 0.1"),
        ({"model.init_args.lrr": [0.1]}, "unknown argument of Linear: 'lrr'"),
        ({"callbacks.0.init_args.every": [1]}, "expected no such key, as it has no callbacks"),
        ({LR: [0.1, -0.1]}, "lr must be positive, got -0.1"),
    ],
)
def test_a_bad_sweep_is_explained(document: dict[str, Any], sweep: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message.replace("[", r"\[")):
        planned(document | {"sweep": sweep, "claims": []})


@pytest.mark.parametrize(
    "key", ["callbacks.1.init_args.every", "callbacks.every", "callbacks.0.class_path", "callbacks"]
)
def test_a_sweep_over_a_callback_that_is_not_there_is_explained(document: dict[str, Any], key: str) -> None:
    document |= {"claims": [], "callbacks": [{"class_path": "benchmarks.selection.FiniteLoss"}], "sweep": {key: [1]}}
    with pytest.raises(BadInput, match=rf"swept over '{key}': expected callbacks.N.init_args.NAME, N below 1"):
        planned(document)


def test_a_slope_over_a_sweep_end_to_end(document: dict[str, Any], invoke: Invoke) -> None:
    """One gradient step from w = 0 moves by lr times the gradient: distance is proportional to lr."""
    steps = {"class_path": "tests.benchmarks.shapes.FirstStep"}
    stated = {"kind": "slope", "model": "m", "metric": "test/moved", "over": LR, "value": 1.0, "tolerance": 0.001}
    grows = {"kind": "monotone", "model": "m", "metric": "test/moved", "over": LR, "direction": "increasing"}
    why = {"evidence": "derived", "source": "the first step of gradient descent"}
    document |= {"models": {"m": steps}, "sweep": {LR: [0.01, 0.02, 0.08]}, "trainer": {"max_steps": 1}}
    answer = invoke(document | {"claims": [stated | why, grows | why]})
    assert [row["verdict"] for row in answer["claims"]] == ["reproduced", "reproduced"]
    assert answer["claims"][0]["mean"] == pytest.approx(1.0, abs=1e-4)
    assert answer["claims"][0]["n"] == 3


def test_a_summary_over_seeds(document: dict[str, Any], invoke: Invoke) -> None:
    stated = {"kind": "bound", "model": "fast", "metric": "summary/spread", "at_least": 0.0, "evidence": "derived"}
    document |= {
        "summary": "tests.benchmarks.shapes.spread",
        "claims": [stated | {"source": "a spread is not negative"}],
    }
    answer = invoke(document)
    losses = [row["metrics"]["test/loss"] for row in answer["runs"] if row["model"] == "fast"]
    assert answer["claims"][0]["verdict"] == "reproduced"
    assert answer["claims"][0]["mean"] == pytest.approx(max(losses) - min(losses))


def test_a_setting_reaches_the_arguments_of_callbacks(document: dict[str, Any]) -> None:
    """Of the benchmark's list and of a label's own; a place that is not there is named."""
    node = {"class_path": "benchmarks.selection.FiniteLoss", "init_args": {"every": 50}}
    document |= {"claims": []}
    document["models"]["fast"] |= {"callbacks": [node]}
    runs = planned(document, **{"callbacks.0.init_args.every": 7}).runs
    assert {run.model: [c["init_args"]["every"] for c in run.config["callbacks"]] for run in runs} == {
        "slow": [],
        "fast": [7],
    }
    with pytest.raises(BadInput, match="'1' is None, not a mapping"):
        planned(document, **{"callbacks.1.init_args.every": 7})

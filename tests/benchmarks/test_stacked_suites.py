"""Stacks in suites: which Runs train together, what each leaves, and what an interruption leaves of a stack."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from benchmarks import plan
from benchmarks.documents import read
from benchmarks.grouping import MOST, grouped, stackable
from benchmarks.run import main
from benchmarks.schema import read_benchmark
from tests.benchmarks.conftest import Invoke
from tests.benchmarks.suites import MARKS, answer, at_work, command, outcome, until
from zoo._stackable import refusal

HERE = "tests.benchmarks.stackable"
REFUSED = "tests.benchmarks.unstackable"


def nets(**entries: Any) -> dict[str, Any]:
    return {
        "title": "Nets",
        "data": {"class_path": f"{HERE}.Cloud"},
        "models": {"net": {"class_path": f"{HERE}.Net"}},
        "trainer": {"max_steps": 30},
        "seeds": 3,
        **entries,
    }


def planned(document: dict[str, Any], folder: Path, replicas: bool = True) -> list[plan.Run]:
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(document))
    return plan.make([(read_benchmark("own", path, read(path), {}), True)], replicas).runs


def sizes(document: dict[str, Any], folder: Path, workers: int = 1) -> list[int]:
    runs = planned(document, folder)
    return [len(group) for group in grouped(runs, runs, folder, workers)]


def test_seeds_and_initial_values_stack_and_other_settings_do_not(tmp_path: Path) -> None:
    assert sizes(nets(), tmp_path) == [3]
    assert sizes(nets(sweep={"model.init_args.spread": [0.5, 1.0]}), tmp_path) == [6]
    assert sizes(nets(sweep={"model.init_args.lr": [0.5, 1.0]}), tmp_path) == [3, 3]
    assert sizes(nets(sweep={"data.init_args.size": [16, 24]}), tmp_path) == [3, 3]
    other = {"class_path": f"{HERE}.Net", "init_args": {"width": 3}}
    assert sizes(nets(models={"net": {"class_path": f"{HERE}.Net"}, "narrow": other}), tmp_path) == [3, 3]


def test_stacks_are_split_over_workers_and_bounded(tmp_path: Path) -> None:
    assert sizes(nets(seeds=5), tmp_path, workers=2) == [2, 3]
    assert sizes(nets(seeds=3), tmp_path, workers=2) == [3], "a stack has two replicas in any case"
    assert sizes(nets(seeds=16), tmp_path, workers=3) == [4, 4, 8]
    assert sizes(nets(seeds=MOST + 1), tmp_path) == [32, 33]


NOT_STACKED: dict[str, dict[str, Any]] = {
    "early stopping": {
        "callbacks": [{"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val/loss"}}]
    },
    "a callback with a hook within a step": {"callbacks": [{"class_path": f"{HERE}.Steering"}]},
    "a callback that does not say": {"callbacks": [{"class_path": "lightning.pytorch.callbacks.Timer"}]},
    "an optimiser that sees all parameters": {
        "optimizer": {"class_path": "torch.optim.Adafactor", "init_args": {"lr": 0.01}}
    },
    "a schedule that looks at a metric": {
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.01}},
        "lr_scheduler": {"class_path": "torch.optim.lr_scheduler.ReduceLROnPlateau", "monitor": "val/loss"},
    },
    "a loss that is scaled": {"trainer": {"max_steps": 3, "precision": "16-mixed"}},
    "nothing to fit": {"fit": False},
}


@pytest.mark.parametrize("why", NOT_STACKED)
def test_what_is_not_the_same_for_each_replica_trains_alone(why: str, tmp_path: Path) -> None:
    assert sizes(nets(**NOT_STACKED[why]), tmp_path) == [1, 1, 1]
    assert not any(run.stacked for run in planned(nets(**NOT_STACKED[why]), tmp_path))


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed", "bf16-true"])
def test_every_precision_without_scaling_stacks(precision: str, tmp_path: Path) -> None:
    assert sizes(nets(trainer={"max_steps": 3, "precision": precision}), tmp_path) == [3]


REASONS = {
    "Normalised": "norm keeps batch statistics",
    "Dropped": "its step draws random numbers, which have to come with the batch",
    "Choosing": "its step cannot be mapped over replicas",
    "Hooked": "it defines on_train_batch_end, which is not called for a stack",
    "Recording": "its step records, which is for callbacks and test_step",
    "Searching": "its optimiser LBFGS is not element-wise",
}


@pytest.mark.parametrize("model", REASONS)
def test_a_model_that_cannot_be_stacked_and_says_so_is_bad_input(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(nets(models={"net": {"class_path": f"{REFUSED}.{model}"}})))
    assert main([str(path), "--results", str(tmp_path / "results"), "--wandb", "disabled"]) == 2
    told = capsys.readouterr().err
    assert "models.net" in told
    assert f"{model} declares vectorizes, but {REASONS[model]}" in " ".join(told.split())
    assert not list(tmp_path.rglob("result.json"))


def test_a_step_that_logs_is_refused() -> None:
    from tests.benchmarks.unstackable import Logging

    assert refusal(Logging(2), (torch.randn(4, 2), torch.randn(4))).endswith("return its scalars instead")


def test_a_model_that_can_be_stacked_is_tried_with_its_gradients() -> None:
    from tests.benchmarks.stackable import Net

    assert refusal(Net(2), (torch.randn(4, 2), torch.randn(4))) == ""
    with torch.device("meta"):
        assert refusal(Net(2), (torch.empty(4, 2), torch.empty(4))) == ""


def metrics(found: dict[str, Any]) -> dict[int, dict[str, float]]:
    return {row["seed"]: row["metrics"] for row in found["runs"]}


def test_each_replica_leaves_a_result_of_its_own(invoke: Invoke, results: Path) -> None:
    found = invoke(nets(callbacks=[{"class_path": f"{HERE}.Noting"}]), "--devices", "1")
    assert found["status"] == 0, found["stderr"]
    assert [row["stacked"] for row in found["runs"]] == [3, 3, 3]
    assert len({row["id"] for row in found["runs"]}) == 3
    for row in found["runs"]:
        left = {path.name for path in Path(row["folder"]).iterdir()}
        assert left >= {"result.json", "config.yaml", "history.csv", "checkpoint.ckpt", "arrays.npz", "log.txt"}
        assert row["steps_per_second"] == pytest.approx(row["steps"] / row["fit_seconds"])
    assert not list(results.rglob("resume.ckpt"))
    assert not list(results.rglob(".stacks/*/*"))
    again = invoke(nets(callbacks=[{"class_path": f"{HERE}.Noting"}]))
    assert all(row["cached"] for row in again["runs"])


def test_more_seeds_and_one_seed_give_the_bits_of_the_whole_stack(invoke: Invoke, results: Path) -> None:
    few = invoke(nets(seeds=2))
    more = invoke(nets(seeds=5))
    assert sorted(row["cached"] for row in more["runs"]) == [False, False, False, True, True]
    assert metrics(more) == metrics(invoke(nets(seeds=5), "--force"))
    assert metrics(few)[1] == metrics(invoke(nets(seeds=[1]), "--force"))[1]


def test_without_replicas_seeds_train_alone_under_other_ids(invoke: Invoke) -> None:
    together, alone = invoke(nets()), invoke(nets(), "--no-replicas")
    assert [row["stacked"] for row in alone["runs"]] == [1, 1, 1]
    assert not {row["id"] for row in together["runs"]} & {row["id"] for row in alone["runs"]}
    for seed, own in metrics(alone).items():
        assert metrics(together)[seed] == pytest.approx(own, rel=1e-4)


def test_a_replica_that_diverges_is_shown_as_failed(invoke: Invoke) -> None:
    data = {"class_path": f"{HERE}.Cloud", "init_args": {"poisoned": 1}}
    rows = invoke(nets(data=data), "--devices", "1")["runs"]
    assert [row["status"] for row in rows] == ["finished", "failed", "finished"]
    assert rows[1]["error"] == "FloatingPointError: the loss is nan at step 30"
    again = invoke(nets(data=data))["runs"]
    assert [row["cached"] for row in again] == [True, False, True]


def test_every_replica_has_a_wandb_run(tmp_path: Path, results: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(nets()))
    assert main([str(path), "--results", str(results), "--wandb", "offline", "--devices", "1", "--json"]) == 0
    folders = {folder.parent.parent.parent for folder in results.rglob("*/wandb/offline-run-*/*.wandb")}
    assert len(list(results.glob("own/net/*/wandb/offline-run-*"))) == 3, folders


def lasting(folder: Path) -> Path:
    """A stack of a few seconds, as a file."""
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(nets(seeds=4, trainer={"max_steps": 4_000}, select={"monitor": "val/loss"})))
    return path


@pytest.mark.timeout(900)
@MARKS[1]
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_stack_resumes_as_a_stack(how: int, tmp_path: Path) -> None:
    path = lasting(tmp_path)
    expected = answer(command(path, tmp_path / "whole", "--devices", "1"))
    broken = tmp_path / "broken"
    with command(path, broken, "--devices", "1") as driver:
        until(lambda: list(broken.rglob("resume.ckpt")))
        (worker,) = at_work(broken)
        os.kill(worker if how == signal.SIGKILL else driver.pid, how)
        driver.communicate(timeout=60)
    (mark,) = broken.rglob("stack.json")
    assert len(json.loads(mark.read_text())) == 4
    one = answer(command(path, broken, "--seeds", "1", "--devices", "1"))  # in other company, and the stack stays
    assert [row["attempts"] for row in one["runs"]] == [1]
    again = answer(command(path, broken, "--devices", "2"))
    assert sorted(row["attempts"] for row in again["runs"]) == [1, 2, 2, 2]
    assert sorted(row["stacked"] for row in again["runs"]) == [1, 4, 4, 4]
    assert outcome(again) == outcome(expected)
    assert not list(broken.rglob("resume.ckpt"))


def test_a_benchmark_that_allows_bf16_has_it_where_the_device_does(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"

    def runs(document: dict[str, Any], bf16: bool) -> list[plan.Run]:
        path.write_text(yaml.safe_dump(document))
        return plan.make([(read_benchmark("own", path, read(path), {}), True)], bf16=bf16).runs

    allowed = runs(nets(bf16=True), True)
    assert {run.config["trainer"]["precision"] for run in allowed} == {"bf16-mixed"}
    assert all(run.stacked for run in allowed)
    without = runs(nets(bf16=True), False)
    assert (
        [run.id for run in without] == [run.id for run in runs(nets(), True)] == [run.id for run in runs(nets(), False)]
    )
    assert not {run.id for run in without} & {run.id for run in allowed}
    chosen = nets(bf16=True, trainer={"max_steps": 3, "precision": "64-true"})
    assert {run.config["trainer"]["precision"] for run in runs(chosen, True)} == {"64-true"}


def test_stackable_is_said_by_the_resolved_configuration(tmp_path: Path) -> None:
    assert all(stackable(run.config) for run in planned(nets(), tmp_path))
    assert not any(run.stacked for run in planned(nets(), tmp_path, replicas=False))

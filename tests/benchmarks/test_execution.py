"""Runs in their worker processes: every shape of training, repetition to the bit, the cache, failures."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from benchmarks import store
from tests.benchmarks.conftest import Invoke
from tests.benchmarks.shapes import Line, Linear, Staged

SHAPES = "tests.benchmarks.shapes"
ROOT = Path(__file__).parents[2]


def every_shape() -> dict[str, Any]:
    models: dict[str, Any] = {
        "supervised": {"class_path": f"{SHAPES}.Linear", "init_args": {"dropout": 0.1}},
        "gan": {"class_path": f"{SHAPES}.TinyGAN"},
        "staged": {"class_path": f"{SHAPES}.Staged"},
        "ridge": {"class_path": f"{SHAPES}.Ridge", "trainer": {"max_epochs": 1}},
        "saliency": {"class_path": f"{SHAPES}.Saliency", "init_args": {"explained": {"from": "own/supervised"}}},
        "pendulum": {"class_path": f"{SHAPES}.Pendulum", "fit": False},
    }
    models["saliency"]["fit"] = False
    data = {"class_path": f"{SHAPES}.Line", "init_args": {"size": 64}}
    return {"title": "Shapes", "data": data, "models": models, "trainer": {"max_epochs": 3}, "seeds": 1}


@pytest.fixture
def shapes(invoke: Invoke) -> dict[str, store.Result]:
    answer = invoke(every_shape())
    assert answer["status"] == 0, answer["stderr"]
    made = [store.read(Path(row["folder"])) for row in answer["runs"]]
    return {result.model: result for result in made if result}


def test_every_shape_of_training_leaves_its_result(shapes: dict[str, store.Result]) -> None:
    assert set(shapes) == set(every_shape()["models"])
    metrics = {name: result.metrics for name, result in shapes.items()}
    x, y = Line(64).load("train")
    held_x, held_y = Line(64).load("test")
    exact = torch.linalg.lstsq(x, y[:, None]).solution[:, 0]
    assert metrics["ridge"]["test/loss"] == pytest.approx(float((held_x @ exact - held_y).square().mean()), rel=1e-4)
    assert metrics["gan"].keys() >= {"train/loss", "train/adversary", "val/loss", "test/loss"}
    assert metrics["staged"].keys() >= {"autoencoder/train/loss", "head/train/loss", "head/val/loss", "test/loss"}
    # leapfrog keeps the energy within O(dt) of its start: kick-first Euler errs by at most dt per unit energy
    assert metrics["pendulum"]["test/drift"] <= 0.0101
    assert shapes["pendulum"].steps == shapes["saliency"].steps == 0


def test_steps_count_on_over_stages(shapes: dict[str, store.Result]) -> None:
    history = shapes["staged"].history()
    first, second = (history["step"][history[f"{name}/train/loss"].notna()] for name in ("autoencoder", "head"))
    assert list(first) == [3, 7]  # 2 epochs of 4 batches
    assert list(second) == [15, 23, 31]  # 3 epochs of 8 batches: the head's view has batches of 8
    assert shapes["staged"].steps == 2 * 4 + 3 * 8
    loaded = Staged.load_from_checkpoint(Path(shapes["staged"].folder) / "checkpoint.ckpt", weights_only=True)
    assert torch.equal(loaded.head.encoder.encoder.weight, loaded.autoencoder.encoder.weight)


def test_a_model_made_from_another_runs_checkpoint(shapes: dict[str, store.Result]) -> None:
    checkpoint = Path(shapes["supervised"].folder) / "checkpoint.ckpt"
    explained = Linear.load_from_checkpoint(checkpoint, weights_only=True)
    gradient = torch.from_numpy(shapes["saliency"].arrays()["gradient"])
    assert torch.equal(gradient[0, 0], explained.line.weight[0].detach())
    saved = torch.load(Path(shapes["saliency"].folder) / "checkpoint.ckpt", weights_only=True)
    assert "checkpoint" not in saved["hyper_parameters"]["explained"]


def metrics_of(answer: dict[str, Any]) -> dict[tuple[str, int], dict[str, float]]:
    return {(row["model"], row["seed"]): row["metrics"] for row in answer["runs"]}


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(document: dict[str, Any], invoke: Invoke) -> None:
    document["models"] = {"dropped": {"class_path": f"{SHAPES}.Linear", "init_args": {"dropout": 0.2}}}
    document["claims"] = []
    first, second = metrics_of(invoke(document)), metrics_of(invoke(document, "--force"))
    assert first == second
    assert len({metrics["test/loss"] for metrics in first.values()}) == 3


def test_finished_runs_are_reused(document: dict[str, Any], invoke: Invoke) -> None:
    first, second = invoke(document), invoke(document)
    assert not any(row["cached"] for row in first["runs"])
    assert all(row["cached"] for row in second["runs"])
    assert metrics_of(first) == metrics_of(second)
    assert first["claims"] == second["claims"]
    assert first["claims"][0]["verdict"] == "reproduced"
    more = invoke(document, "--seeds", "4")
    assert [row["cached"] for row in more["runs"]].count(False) == 2


FAILURES = {
    "exception": "RuntimeError: this model always fails",
    "nan": "FloatingPointError: the loss is nan",
    "memory": "out of memory: ",
    "killed": "killed by SIGKILL",
    "slow": "time limit of 4 s reached",
}


def test_failures_are_shown_and_harm_nobody(document: dict[str, Any], invoke: Invoke) -> None:
    bad = {how: {"class_path": f"{SHAPES}.Misbehaving", "init_args": {"how": how}} for how in FAILURES}
    document |= {"models": document["models"] | bad, "seeds": 1, "time_limit": 4, "claims": []}
    document["models"] = dict(sorted(document["models"].items()))
    answer = invoke(document)
    rows = {row["model"]: row for row in answer["runs"]}
    assert answer["status"] == 1
    for how, reason in FAILURES.items():
        assert rows[how]["status"] == "failed"
        assert rows[how]["error"].startswith(reason)
        assert reason in answer["stderr"].replace("\n", " ")
    assert {rows["fast"]["status"], rows["slow"]["status"] if "slow" not in bad else "finished"} == {"finished"}
    again = {row["model"]: row for row in invoke(document)["runs"]}
    assert again["fast"]["cached"]
    assert not any(again[how]["cached"] for how in FAILURES)
    assert list(Path(rows["exception"]["folder"]).glob("result.earlier-*.json"))


def test_what_needs_a_failed_run_is_not_run(document: dict[str, Any], invoke: Invoke) -> None:
    broken = {"class_path": f"{SHAPES}.Misbehaving"}
    saliency = {"class_path": f"{SHAPES}.Saliency", "init_args": {"explained": {"from": "own/broken"}}, "fit": False}
    document |= {"models": {"broken": broken, "saliency": saliency}, "seeds": 1, "claims": []}
    rows = {row["model"]: row for row in invoke(document)["runs"]}
    assert (rows["saliency"]["status"], rows["saliency"]["error"]) == ("not run", "needs own/broken, which failed")


def test_claims_under_changed_settings_are_not_judged(document: dict[str, Any], invoke: Invoke) -> None:
    answer = invoke(document, "--set", "trainer.max_epochs=1")
    assert answer["claims"][0]["verdict"] == "not run"
    assert "trainer.max_epochs=1" in answer["claims"][0]["reason"]


def test_strict_fails_where_a_claim_is_not_reproduced(document: dict[str, Any], invoke: Invoke) -> None:
    document["claims"][0] |= {"model": "slow", "than": "fast"}
    assert invoke(document)["status"] == 0
    assert invoke(document, "--strict")["status"] == 1


def test_selection_tests_the_best_epoch(document: dict[str, Any], invoke: Invoke) -> None:
    growing = {"class_path": f"{SHAPES}.Linear", "init_args": {"lr": 1.05}}  # steps this long make it worse
    document |= {"models": {"m": growing}, "seeds": 1, "claims": [], "trainer": {"max_epochs": 6}}
    last = invoke(document)["runs"][0]
    best = invoke(document | {"select": {"monitor": "val/loss"}})["runs"][0]
    curve = store.read(Path(best["folder"]))
    assert curve is not None
    losses = curve.history()["val/loss"].dropna().to_numpy()
    assert losses.argmin() < len(losses) - 1, "the last epoch must not be the best one here"
    model = Linear.load_from_checkpoint(Path(best["folder"]) / "checkpoint.ckpt", weights_only=True)
    x, y = Line(32).load("val")
    assert float((model(x) - y).square().mean().detach()) == pytest.approx(losses.min(), rel=1e-5)
    assert best["metrics"]["test/loss"] < last["metrics"]["test/loss"]


def command(path: Path, results: Path, *more: str) -> subprocess.Popen[str]:
    """The command line in a process of its own."""
    ask = [
        sys.executable,
        "-m",
        "benchmarks.run",
        str(path),
        "--results",
        str(results),
        "--wandb",
        "disabled",
        "--json",
    ]
    return subprocess.Popen([*ask, *more], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_suites_at_once_lose_nothing_and_run_nothing_twice(
    document: dict[str, Any], tmp_path: Path, results: Path
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(document | {"trainer": {"max_epochs": 20}}))
    answers = [
        json.loads(process.communicate(timeout=120)[0]) for process in (command(path, results), command(path, results))
    ]
    assert metrics_of(answers[0]) == metrics_of(answers[1])
    made = [row["folder"] for answer in answers for row in answer["runs"] if not row["cached"]]
    assert len(made) == len(set(made)) == 6
    assert not list(results.rglob("result.earlier-*.json"))


def test_waiting_for_another_suite_is_not_the_runs_time(
    document: dict[str, Any], tmp_path: Path, results: Path
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(document | {"seeds": 1, "time_limit": 5, "claims": []}))
    folders = [run["id"] for run in json.loads(_answer(command(path, results, "--dry-run")))["runs"]]
    lock = results / "own" / "slow" / folders[0] / ".lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = command(path, results)
        _until(lambda: list(results.rglob("fast/*/result.json")))
        time.sleep(6)  # longer than the time limit
    rows = json.loads(_answer(waiting))["runs"]
    assert [row["status"] for row in rows] == ["finished", "finished"]


def _answer(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=120)[0]


def test_an_interrupted_suite_keeps_what_is_finished(document: dict[str, Any], tmp_path: Path, results: Path) -> None:
    path = tmp_path / "own.yaml"
    document["models"]["slow"] = {"class_path": f"{SHAPES}.Misbehaving", "init_args": {"how": "slow"}}
    path.write_text(yaml.safe_dump(document | {"claims": [], "seeds": 1}))
    with command(path, results) as driver:
        _until(lambda: list(results.rglob("fast/*/result.json")) and list(results.rglob("slow/*/config.yaml")))
        driver.send_signal(signal.SIGINT)
        assert driver.wait(30) == 130
        assert driver.stderr is not None
        assert "interrupted: finished Runs are kept" in driver.stderr.read()
    _until(lambda: not _processes_naming(str(results)))
    again = json.loads(_answer(command(path, results, "--set", "time_limit=2")))
    assert {row["model"]: row["cached"] for row in again["runs"]} == {"fast": True, "slow": False}


def test_a_training_without_a_batch_fails(document: dict[str, Any], invoke: Invoke) -> None:
    document["data"]["init_args"] |= {"batch_size": 64, "drop_last": True}
    rows = invoke(document | {"seeds": 1, "claims": []})["runs"]
    assert all(row["error"].startswith("ValueError: no training batch") for row in rows)


def test_workers_end_with_a_driver_that_is_killed(document: dict[str, Any], tmp_path: Path, results: Path) -> None:
    path = tmp_path / "own.yaml"
    slow = {"class_path": f"{SHAPES}.Misbehaving", "init_args": {"how": "slow"}}
    path.write_text(yaml.safe_dump(document | {"models": {"slow": slow}, "claims": [], "seeds": 2}))
    with command(path, results) as driver:
        _until(lambda: len(list(results.rglob("config.yaml"))) >= 1)
        assert _processes_naming(str(results))
        driver.send_signal(signal.SIGKILL)
    _until(lambda: not _processes_naming(str(results)))


def _until(condition: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def _processes_naming(text: str) -> list[int]:
    """Processes that hold a file below a folder open."""
    holding = []
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if text in os.readlink(entry):
                holding.append(int(entry.parts[2]))
        except OSError:
            continue
    return holding


def test_results_are_read_as_a_frame(document: dict[str, Any], invoke: Invoke, results: Path) -> None:
    invoke(document)
    frame = store.load(results)
    assert len(frame) == 6
    assert {"id", "benchmark", "model", "seed", "status", "error", "params", "fit_seconds", "device"} <= set(frame)
    assert {"steps_per_second", "peak_memory_bytes", "commit", "started", "test/loss", "val/loss"} <= set(frame)
    assert (frame["params"] == 3).all()
    assert np.allclose(frame["steps_per_second"] * frame["fit_seconds"], 4)

"""W&B with a server: what it is sent, and what happens where it refuses, breaks or is not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import zoo
from benchmarks import store
from tests.benchmarks import shapes
from tests.benchmarks.test_tracking import inspect
from tests.benchmarks.wandb_server import Server

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(600)
TIMEOUT = 6  # seconds that W&B may wait for a server that does not answer; by default 20, and 30 at the end


@pytest.fixture
def own(document: dict[str, Any], tmp_path: Path) -> Path:
    """Six Runs, two at a time."""
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def online(path: Path, results: Path, url: str, timeout: int = 60) -> tuple[dict[str, Any], str]:
    """The answer and the messages of the command with `--wandb online`."""
    environment = {
        **os.environ,
        "WANDB_MODE": "online",
        "WANDB_BASE_URL": url,
        "WANDB_API_KEY": "0" * 40,
        "WANDB_INIT_TIMEOUT": str(timeout),
        "WANDB_FINISH_TIMEOUT": str(timeout),
    }
    ask = [sys.executable, "-m", "benchmarks.run", str(path), "--results", str(results), "--wandb", "online", "--json"]
    done = subprocess.run(
        [*ask, "--devices", "2"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_every_run_and_a_summary_are_sent_with_the_weights(own: Path, tmp_path: Path) -> None:
    with Server().running() as server:
        answer, messages = online(own, tmp_path / "results", server.url)
    assert "warning" not in messages
    kinds = [run["jobType"] for run in server.runs.values()]
    assert (kinds.count("run"), kinds.count("summary")) == (6, 1)
    row = answer["runs"][0]
    name, sent = next(
        (n, r) for n, r in server.runs.items() if r["displayName"] == f"{row['model']} seed {row['seed']}"
    )
    config = {key: entry["value"] for key, entry in json.loads(sent["config"]).items() if key != "_wandb"}
    assert (config["model"], config["data"], config["seed"], config["run_id"]) == ("Linear", "Line", 0, row["id"])
    assert config["params"] == 3
    assert sent["groupName"] == "own"
    assert any("train/loss" in line for line in server.history[name])
    weights = [artifact for artifact in server.artifacts if artifact["artifactTypeName"] == "model"]
    assert len(weights) == 6
    card = next(file for file in server.files if file.endswith(f"{row['model']}-seed{row['seed']}.json"))
    for file in (card, card.replace(".json", ".safetensors")):
        (tmp_path / file).write_bytes(server.files[file])
    loaded = zoo.load(tmp_path / card)
    assert isinstance(loaded, shapes.Linear)
    saved = torch.load(Path(row["folder"]) / "checkpoint.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(tensor, saved[key]) for key, tensor in loaded.state_dict().items())


def test_the_same_run_made_twice_is_two_wandb_runs(own: Path, tmp_path: Path) -> None:
    with Server().running() as server:
        first, _ = online(own, tmp_path / "one", server.url)
        second, _ = online(own, tmp_path / "two", server.url)
    assert [row["id"] for row in first["runs"]] == [row["id"] for row in second["runs"]]
    assert [run["jobType"] for run in server.runs.values()].count("run") == 12


@pytest.mark.parametrize("how", ["refuses", "is not there"])
def test_a_server_that_cannot_be_used_means_offline_with_one_warning(how: str, own: Path, tmp_path: Path) -> None:
    with Server(status=401).running() as server:
        url = server.url if how == "refuses" else "http://127.0.0.1:9"
        answer, messages = online(own, tmp_path / "results", url, TIMEOUT)
    assert messages.count("warning: W&B cannot be used") == 1
    assert {row["status"] for row in answer["runs"]} == {"finished"}
    logged = sorted((tmp_path / "results").rglob("own/*/*/wandb/offline-run-*/*.wandb"))
    assert len(logged) == 6
    assert "test/loss" in json.dumps(inspect(logged[0]))
    # only the Runs that had begun when the first of them gave up have waited for the server
    logs = [(Path(row["folder"]) / "log.txt").read_text() for row in answer["runs"]]
    assert 1 <= sum("W&B cannot be used" in log for log in logs) <= 2


def test_a_server_that_breaks_after_the_start_holds_nothing_up(own: Path, tmp_path: Path) -> None:
    with Server(fails_after_start=True).running() as server:
        answer, messages = online(own, tmp_path / "results", server.url, TIMEOUT)
    assert {row["status"] for row in answer["runs"]} == {"finished"}
    assert messages.count("warning:") >= 1
    written = sorted((tmp_path / "results").rglob("own/*/*/wandb/*run-*/*.wandb"))
    assert len(written) == 6
    assert all("test/loss" in json.dumps(inspect(path)) for path in written)
    assert len(store.load(tmp_path / "results")) == 6

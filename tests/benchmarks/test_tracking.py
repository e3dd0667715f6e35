"""What a Run logs: the CSV history, and one W&B run that is read back from its offline file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import wandb
import yaml

from benchmarks.run import main
from benchmarks.tracking import History, StageLogger, WandbRun


def test_the_history_has_a_row_a_step_and_a_column_a_metric(tmp_path: Path) -> None:
    history = History(tmp_path / "history.csv")
    first, second = (StageLogger(history, None, stage, before) for stage, before in (("a", 0), ("b", 10)))
    first.log_metrics({"val/loss": 2.0, "epoch": 0}, 4)
    first.log_metrics({"train/loss": 1.0, "epoch": 0}, 4)
    second.log_metrics({"train/loss": 0.5, "epoch": 0}, 3)
    history.save()
    frame = pd.read_csv(tmp_path / "history.csv")
    assert frame["step"].tolist() == [4, 13]
    assert frame["a/train/loss"].tolist()[0] == 1.0
    assert frame["a/val/loss"].tolist()[0] == 2.0
    assert frame["b/train/loss"].tolist()[1] == 0.5
    assert frame["a/train/loss"].isna().tolist() == [False, True]


def inspect(path: Path, *arguments: str) -> list[Any]:
    """What W&B's own reader finds in an offline run."""
    reader = [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", *arguments, "--json", str(path)]
    printed = subprocess.run(reader, capture_output=True, text=True, check=True, timeout=60).stdout
    return [json.loads(line) for line in printed.splitlines() if line.strip().startswith("{")]


@pytest.fixture
def run_folders(document: dict[str, Any], tmp_path: Path, results: Path) -> list[Path]:
    document |= {"paper": {"key": "own2026line"}, "seeds": 2}
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(document))
    assert main([str(path), "--results", str(results)]) == 0
    return [path.parent for path in sorted(results.rglob("result.json"))]


def summary_of(path: Path) -> dict[str, Any]:
    """Config, summary, tags and state of an offline run, as W&B's own reader shows them."""
    reader = [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", "--summary", "--json", str(path)]
    found: dict[str, Any] = json.loads(subprocess.run(reader, capture_output=True, text=True, check=True).stdout)
    return found


def test_every_run_is_one_offline_run_with_config_summary_group_and_tags(run_folders: list[Path]) -> None:
    seen = set()
    for folder in run_folders:
        (path,) = folder.glob("wandb/offline-run-*/*.wandb")
        result = json.loads((folder / "result.json").read_text())
        found = summary_of(path)
        assert (found["name"], found["project"]) == (f"{result['model']} seed {result['seed']}", "paperzoo")
        assert (found["state"], found["exit_code"]) == ("finished", 0)
        assert found["tags"] == ["own", "own2026line", "cpu"]
        flat = {key: value for key, value in found["config"].items() if key != "resolved"}
        assert flat == {
            "benchmark": "own",
            "label": result["model"],
            "model": "Linear",
            "data": "Line",
            "seed": result["seed"],
            "run_id": result["id"],
            "params": 3,
        }
        assert found["config"]["resolved"] == yaml.safe_load((folder / "config.yaml").read_text())
        for name, value in result["metrics"].items():
            assert found["summary"][name] == pytest.approx(value)
        (begun,) = [record["run"] for record in inspect(path) if record["type"] == "run"][:1]
        assert (begun["run_group"], begun["job_type"]) == ("own", "run")
        seen.add(found["run_id"])
    assert len(seen) == len(run_folders) == 4


def test_all_runs_and_the_summary_lie_together(run_folders: list[Path], results: Path) -> None:
    listed = [path for path in (results / "wandb").glob("offline-run-*") if "summary" not in path.name]
    assert {path.resolve().parent.parent for path in listed} == set(run_folders)
    (path,) = (results / "wandb").glob("offline-run-*summary*/*.wandb")
    found = summary_of(path)
    tables = {}
    for name in ("runs", "claims"):
        assert found["summary"][name]["_type"] == "table-file"
        table = json.loads((path.parent / "files" / found["summary"][name]["path"]).read_text())
        tables[name] = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    kept = [json.loads((folder / "result.json").read_text()) for folder in run_folders]
    assert {row["id"]: row["test/loss"] for row in tables["runs"]} == {
        result["id"]: pytest.approx(result["metrics"]["test/loss"]) for result in kept
    }
    assert not any(row["cached"] for row in tables["runs"])
    (claim,) = tables["claims"]
    assert (claim["model"], claim["verdict"], claim["n"]) == ("fast", "not run", 2)


def test_falling_back_to_offline_keeps_what_an_earlier_attempt_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = tmp_path / "wandb" / "run-20260101_000000-a"
    earlier.mkdir(parents=True)
    (earlier / "run-a.wandb").write_text("not synced yet")
    started = []

    def init(mode: str, **about: Any) -> Any:
        started.append((mode, about["id"]))
        made = tmp_path / "wandb" / f"{'offline-' if mode == 'offline' else ''}run-20260102_000000-{about['id']}"
        (made / "files").mkdir(parents=True)
        if mode == "online":
            raise wandb.errors.CommError("no server")
        return SimpleNamespace(dir=str(made / "files"), define_metric=lambda *_, **__: None)

    monkeypatch.setattr("wandb.init", init)
    renamed: list[str] = []
    run = WandbRun("online", tmp_path, tmp_path, {"id": "a"}, renamed.append)
    run.run.result()
    run.thread.shutdown()
    assert started == [("online", "a"), ("offline", "a-offline")]
    assert renamed == ["a-offline"]
    assert run.unusable
    assert (earlier / "run-a.wandb").read_text() == "not synced yet"
    assert not (tmp_path / "wandb" / "run-20260102_000000-a").exists()


def test_disabled_leaves_no_wandb_files(document: dict[str, Any], tmp_path: Path, results: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(document | {"seeds": 1}))
    assert main([str(path), "--results", str(results), "--wandb", "disabled"]) == 0
    assert not list(results.rglob("*.wandb"))
    assert len(list(results.rglob("history.csv"))) == 2

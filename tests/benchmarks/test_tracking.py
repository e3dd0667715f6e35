"""What a Run logs: the CSV history, and one W&B run that is read back from its offline file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from benchmarks.run import main
from benchmarks.tracking import History, StageLogger


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
    document |= {"paper": {"key": "own2026line"}, "seeds": 2, "claims": []}
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(document))
    assert main([str(path), "--results", str(results)]) == 0
    return [path.parent for path in sorted(results.rglob("result.json"))]


def test_every_run_is_one_offline_run_with_config_summary_and_tags(run_folders: list[Path]) -> None:
    seen = set()
    for folder in run_folders:
        files = list(folder.glob("wandb/offline-run-*/*.wandb"))
        assert len(files) == 1
        result = json.loads((folder / "result.json").read_text())
        text = json.dumps(inspect(files[0]))
        for expected in (
            "own2026line",
            "paperzoo",
            f"{result['model']} seed {result['seed']}",
            "test/loss",
            result["id"],
        ):
            assert expected in text
        seen.add(files[0].stem)
    assert len(seen) == len(run_folders) == 4


def test_disabled_leaves_no_wandb_files(document: dict[str, Any], tmp_path: Path, results: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(document | {"seeds": 1}))
    assert main([str(path), "--results", str(results), "--wandb", "disabled"]) == 0
    assert not list(results.rglob("*.wandb"))
    assert len(list(results.rglob("history.csv"))) == 2

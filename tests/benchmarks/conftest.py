"""Running the command line on documents of a test's own."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.run import main

Invoke = Callable[..., dict[str, Any]]


@pytest.fixture
def invoke(tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str]) -> Invoke:
    """Runs a document and returns the JSON answer, with the exit status beside it."""

    def run(document: dict[str, Any], *arguments: str, name: str = "own") -> dict[str, Any]:
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(copy.deepcopy(document)))
        status = main([str(path), "--results", str(results), "--wandb", "disabled", "--json", *arguments])
        printed = capsys.readouterr()
        answer: dict[str, Any] = json.loads(printed.out)
        return answer | {"status": status, "stderr": printed.err}

    return run


@pytest.fixture
def paced(document: dict[str, Any], tmp_path: Path) -> Path:
    """A suite of four Runs of a few seconds each, with dropout and shuffling."""
    document["models"] = {
        name: {"class_path": "tests.benchmarks.shapes.Paced", "init_args": {"lr": lr}}
        for name, lr in (("slow", 0.002), ("fast", 0.05))
    }
    document |= {"trainer": {"max_epochs": 150}, "seeds": 2, "select": {"monitor": "train/loss"}}
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(document))
    return path

"""What all tests share: one thread, no network, no signals left, no results outside the test's own folder."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def _quiet_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    # The command takes SIGTERM for itself, in shared fixtures too; a shell lets what is in its background ignore SIGINT
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def document() -> dict[str, object]:
    """A complete benchmark of two small models."""
    line = "tests.benchmarks.shapes.Line"
    linear = "tests.benchmarks.shapes.Linear"
    return {
        "title": "Two lines",
        "data": {"class_path": line, "init_args": {"size": 32, "batch_size": 16}},
        "models": {
            "slow": {"class_path": linear, "init_args": {"lr": 0.01}},
            "fast": {"class_path": linear, "init_args": {"lr": 0.1}},
        },
        "trainer": {"max_epochs": 2},
        "seeds": 3,
        "claims": [
            {
                "kind": "better",
                "model": "fast",
                "than": "slow",
                "metric": "test/loss",
                "goal": "lower",
                "evidence": "derived",
                "source": "ten times the step on the same quadratic",
            }
        ],
    }


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """An empty results folder."""
    folder = tmp_path / "results"
    folder.mkdir()
    return folder

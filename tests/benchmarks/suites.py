"""Trainings and suites to be interrupted: started, watched, killed, and their answers compared."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest

ROOT = Path(__file__).parents[2]
#: Marks of a test file that interrupts suites.
MARKS = [
    pytest.mark.timeout(900),  # each test starts the command several times
    pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="finds the workers in /proc"),
]


class Interruption(pl.Callback):
    """Ends the training in its n-th batch (from 1): by SIGTERM, as a scheduler does, or by a crash."""

    def __init__(self, batch: int, how: str) -> None:
        self.left, self.how = batch, how

    def on_train_batch_end(self, *_: Any) -> None:
        self.left -= 1
        if self.left == 0:
            if self.how == "crash":
                raise ConnectionError("a crash")
            os.kill(os.getpid(), signal.SIGTERM)


def command(path: Path, results: Path, *more: str, wandb: str = "disabled") -> subprocess.Popen[str]:
    """The command in a process of its own, with frequent snapshots."""
    ask = [sys.executable, "-m", "benchmarks.run", str(path), "--results", str(results), "--wandb", wandb, "--json"]
    ask += ["--checkpoint-every", "0.2", "--devices", "2", *more]
    return subprocess.Popen(ask, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    printed, errors = process.communicate(timeout=200)
    assert printed, errors
    found: dict[str, Any] = json.loads(printed)
    return found


def at_work(results: Path) -> list[int]:
    """The processes that hold a Run's log open: its worker, and nobody else for long."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/fd/1"):
        with contextlib.suppress(OSError):
            if os.readlink(entry).startswith(str(results)):
                found.append(int(entry.parts[2]))
    return found


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def outcome(found: dict[str, Any]) -> tuple[Any, ...]:
    rows = sorted((row["model"], row["seed"], row["status"], json.dumps(row["metrics"])) for row in found["runs"])
    return (*rows, *((claim["verdict"], claim["mean"], claim["interval"]) for claim in found["claims"]))


def kill(process: int) -> bool:
    """Whether there was a process to kill."""
    try:
        os.kill(process, signal.SIGKILL) if process else None
    except ProcessLookupError:
        return False
    return bool(process)

"""Whatever ends a suite, the same command goes on from there and comes to the same end."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import store
from benchmarks.ending import CLOSING, GRACE, LAST, Ending, Interrupted
from tests.benchmarks.test_tracking import summary_of

SHAPES = "tests.benchmarks.shapes"
ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.timeout(900),  # each test starts the command several times
    pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="finds the workers in /proc"),
]
SEED = 20261125  # of the moments at which something is killed


@pytest.fixture
def paced(document: dict[str, Any], tmp_path: Path) -> Path:
    """A suite of six Runs of a few seconds each, with dropout and shuffling."""
    document["models"] = {
        name: {"class_path": f"{SHAPES}.Paced", "init_args": {"lr": lr}}
        for name, lr in (("slow", 0.002), ("fast", 0.05))
    }
    document |= {"trainer": {"max_epochs": 150}, "seeds": 3, "select": {"monitor": "train/loss"}}
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


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


def test_killing_workers_and_drivers_at_random_moments_changes_nothing(paced: Path, tmp_path: Path) -> None:
    """Ten kills and more: two workers of each attempt, then its driver, who leaves no process behind."""
    document = yaml.safe_load(paced.read_text())
    paced.write_text(yaml.safe_dump(document | {"trainer": {"max_epochs": 300}}))  # more than the attempts will do
    expected = answer(command(paced, tmp_path / "whole"))
    broken, moments = tmp_path / "broken", random.Random(SEED)
    killed = 0
    while killed < 10:
        with command(paced, broken) as driver:
            for _ in range(2):
                until(lambda: at_work(broken))
                time.sleep(moments.uniform(0.0, 1.0))
                killed += kill(moments.choice(at_work(broken) or [0]))
            time.sleep(moments.uniform(0.0, 1.0))
            killed += kill(driver.pid)
            driver.communicate(timeout=60)
        until(lambda: not at_work(broken), LAST + GRACE)
    last = answer(command(paced, broken))
    assert outcome(last) == outcome(expected)
    assert max(row["attempts"] for row in last["runs"]) > 1
    again = answer(command(paced, broken))
    assert all(row["cached"] for row in again["runs"])
    assert outcome(again) == outcome(expected)
    assert not list(broken.rglob("resume.ckpt"))
    assert not list(broken.rglob("*.partial"))


def kill(process: int) -> bool:
    """Whether there was a process to kill."""
    try:
        os.kill(process, signal.SIGKILL) if process else None
    except ProcessLookupError:
        return False
    return bool(process)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_orderly_end_saves_the_running_batch_and_closes_wandb_as_failed(
    how: signal.Signals, paced: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    longer = [f"--set=models.{name}.init_args.pause=0.03" for name in ("slow", "fast")]
    with command(paced, results, "--checkpoint-every", "0", *longer, wandb="offline") as driver:
        until(lambda: len(list(results.rglob("*.wandb"))) == 2)
        driver.send_signal(how)
        assert driver.wait(GRACE + CLOSING + LAST) == 130
    until(lambda: not at_work(results), LAST)
    snapshots = list(results.rglob("resume.ckpt"))
    assert len(snapshots) == 2
    assert not list(results.rglob("result.json"))
    for snapshot in snapshots:
        (logged,) = snapshot.parent.glob("wandb/offline-run-*/*.wandb")
        found = summary_of(logged)
        assert (found["state"], found["exit_code"]) == ("failed", 143)
    found = answer(command(paced, results, *longer, wandb="offline"))
    assert sorted(row["attempts"] for row in found["runs"]) == [1, 1, 1, 1, 2, 2]
    for snapshot in snapshots:  # the second segment of one W&B run
        folders = sorted(snapshot.parent.glob("wandb/offline-run-*"))
        assert len(folders) == 2
        assert len({folder.name.partition("-seed")[2] for folder in folders}) == 1
    assert outcome(found) == outcome(answer(command(paced, tmp_path / "whole", *longer)))


def test_force_starts_from_the_beginning(paced: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    with command(paced, results) as driver:
        until(lambda: list(results.rglob("resume.ckpt")))
        driver.send_signal(signal.SIGINT)
        driver.communicate(timeout=60)
    assert {row["attempts"] for row in answer(command(paced, results, "--force"))["runs"]} == {1}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs more rights than these")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_named_and_leaves_a_store_that_can_be_read_and_resumed(paced: Path, small_disk: Path) -> None:
    with command(paced, small_disk) as driver:
        until(lambda: len(list(small_disk.rglob("resume.ckpt"))) == 2)
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        printed, errors = driver.communicate(timeout=100)
    assert driver.returncode == 1, errors
    failed = [row for row in json.loads(printed)["runs"] if row["status"] == "failed"]
    assert failed
    assert all("the disk is full" in row["error"] for row in failed), failed
    assert "Traceback" not in errors
    store.load(small_disk)
    filler.unlink()
    found = answer(command(paced, small_disk))
    assert {row["status"] for row in found["runs"]} == {"finished"}
    assert max(row["attempts"] for row in found["runs"]) > 1


def test_outside_a_training_the_end_is_at_once_and_only_once() -> None:
    ending = Ending()
    with pytest.raises(Interrupted):
        ending._asked()
    ending._asked()  # what is being closed is not interrupted again


def test_a_batch_that_takes_too_long_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.ending.GRACE", 0.2)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    ending = Ending(lambda: True)
    try:
        ending.install()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted):
            time.sleep(30)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

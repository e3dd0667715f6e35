"""Kill -9 and a full disk: the same command goes on from there, and comes to the same end."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from benchmarks import store
from benchmarks.ending import GRACE, LAST
from tests.benchmarks.suites import MARKS, answer, at_work, command, kill, outcome, until

pytestmark = MARKS
SEED = 20261125  # of the moments at which something is killed


def test_killing_workers_and_drivers_at_random_moments_changes_nothing(paced: Path, tmp_path: Path) -> None:
    """Ten kills and more: two workers of each attempt, then its driver, who leaves no process behind."""
    document = yaml.safe_load(paced.read_text())
    paced.write_text(
        yaml.safe_dump(document | {"trainer": {"max_epochs": 300}, "seeds": 3})
    )  # more than the attempts will do
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

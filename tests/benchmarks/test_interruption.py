"""An orderly end: what is asked to stop saves what it has, and the same command goes on from there."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from benchmarks.ending import CLOSING, GRACE, LAST, Ending, Interrupted
from tests.benchmarks.suites import MARKS, answer, at_work, command, outcome, until
from tests.benchmarks.test_tracking import summary_of

pytestmark = MARKS


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_orderly_end_saves_the_running_batch_and_closes_wandb_as_failed(
    how: signal.Signals, paced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results"
    monkeypatch.setenv("PAUSE", "0.2")  # a minute in all: the first is not done before the second is known to train
    with command(paced, results, "--checkpoint-every", "0", wandb="offline") as driver:
        until(lambda: len(list(results.rglob("*.wandb"))) == 2)
        until(lambda: training(results) == 2)
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
    monkeypatch.setenv("PAUSE", "0")
    found = answer(command(paced, results, wandb="offline"))
    assert sorted(row["attempts"] for row in found["runs"]) == [1, 1, 2, 2]
    for snapshot in snapshots:  # the second segment of one W&B run
        folders = sorted(snapshot.parent.glob("wandb/offline-run-*"))
        assert len(folders) == 2
        assert len({folder.name.partition("-seed")[2] for folder in folders}) == 1
    assert outcome(found) == outcome(answer(command(paced, tmp_path / "whole")))


def training(results: Path) -> int:
    """How many Runs have written of a step: a file with a heading alone is there before they train."""
    return sum(len(path.read_text().splitlines()) > 1 for path in results.rglob("history.csv"))


def test_force_starts_from_the_beginning(paced: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    with command(paced, results) as driver:
        until(lambda: list(results.rglob("resume.ckpt")))
        driver.send_signal(signal.SIGINT)
        driver.communicate(timeout=60)
    assert {row["attempts"] for row in answer(command(paced, results, "--force"))["runs"]} == {1}


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

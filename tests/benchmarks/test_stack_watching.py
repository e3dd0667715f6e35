"""What a callback sees and logs in a stack is what it sees and logs of a model trained alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from lightning.pytorch.utilities.exceptions import SIGTERMException

from benchmarks import resume, stack
from benchmarks.tracking import History
from benchmarks.watching import Split
from tests.benchmarks.stacking import HERE, alone, assert_close, assert_same, config, loggers, stacked
from tests.benchmarks.suites import Interruption

pytestmark = pytest.mark.filterwarnings("ignore:Found 1 module")  # a layer is meant to be in eval mode
WATCHERS = "tests.benchmarks.watchers"


def watched(name: str, **trainer: Any) -> dict[str, Any]:
    """Batches of 8, 8 and 6 an epoch."""
    return {
        "data": {"class_path": f"{HERE}.Cloud", "init_args": {"size": 22}},
        "model": {"class_path": f"{HERE}.Resting", "init_args": {"in_features": 2}},
        "callbacks": [{"class_path": f"{WATCHERS}.{name}", "init_args": {}}],
        "trainer": {"max_steps": 10, "precision": "64-true", **trainer},
    }


@pytest.mark.parametrize("often", [{}, {"val_check_interval": 2}, {"check_val_every_n_epoch": 2}])
@pytest.mark.parametrize("name", ["Seeing", "Logging"])
def test_each_sees_and_logs_what_it_does_of_a_single_model(name: str, often: dict[str, Any], tmp_path: Path) -> None:
    """Counters, modes, metrics and the history, with the rounding of ten steps in float64."""
    how = watched(name, **often)
    for seed, own in zip((0, 3), stacked([0, 3], tmp_path / "both", **how), strict=True):
        assert_close(alone(seed, tmp_path / str(seed), **how), own, 1e-9)


@pytest.mark.parametrize("select", [{}, {"select": {"monitor": "val/loss"}}, {"select": {"monitor": "train/loss"}}])
def test_each_ends_when_it_would_alone(select: dict[str, Any], tmp_path: Path) -> None:
    """After 6, 9 and, of more epochs than there are, 15 steps: weights, records, metrics and histories of that time."""
    how = {**watched("Ending", max_steps=15), **select}
    both = stacked([0, 1, 9], tmp_path / "all", **how)
    assert [outcome.steps for outcome, _, _ in both] == [6, 9, 15]
    for seed, own in zip((0, 1, 9), both, strict=True):
        assert_close(alone(seed, tmp_path / str(seed), **how), own, 1e-9)


def test_nothing_trains_on_when_all_have_ended(tmp_path: Path) -> None:
    seen: list[int] = []

    class Looking(pl.Callback):
        def on_train_end(self, trainer: pl.Trainer, *_: Any) -> None:
            seen.append(trainer.global_step)

    stacked([0, 1], tmp_path / "two", [Looking()], **watched("Ending", max_steps=30))
    stacked([0], tmp_path / "one", [Looking()], **watched("Ending", max_steps=30))
    assert seen == [9, 6]


@pytest.mark.parametrize("batch", [2, 7, 10])
def test_what_ended_stays_so_after_an_interruption(batch: int, tmp_path: Path) -> None:
    """Before and after the first has ended, in step 6, and the second, in step 9."""
    how = watched("Ending", max_steps=15)
    expected = stacked([0, 1, 9], tmp_path / "whole", **how)
    with pytest.raises(SIGTERMException):
        stacked([0, 1, 9], tmp_path / "broken", [Interruption(batch, "sigterm")], **how)
    again = stacked([0, 1, 9], tmp_path / "broken", **how)
    assert [outcome.steps for outcome, _, _ in again] == [6, 9, 15]
    for one, other in zip(expected, again, strict=True):
        assert_same(one, other)


def test_what_is_logged_survives_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "COST", 0)
    single = watched("Logging", precision="32-true")
    expected = stacked([0, 1], tmp_path / "whole", **single)
    with pytest.raises(ConnectionError):
        stacked([0, 1], tmp_path / "broken", [Interruption(5, "crash")], every=1e-9, **single)
    for one, other in zip(expected, stacked([0, 1], tmp_path / "broken", **single), strict=True):
        assert_same(one, other)


def test_logging_where_lightning_takes_nothing_is_an_error(tmp_path: Path) -> None:
    for outcome, _, _ in stacked([0, 1], tmp_path, **watched("Misplaced")):
        assert outcome.error.startswith("MisconfigurationException: You can't `self.log()` inside `on_train_end`")


@pytest.mark.parametrize("seeds", [[0], [0, 1]])
def test_nothing_trains_on_when_all_have_failed(seeds: list[int], tmp_path: Path) -> None:
    """Found at the next look at the losses, in step 50; a lone seed's pad has no callbacks and cannot fail."""
    for outcome, _, _ in stacked(seeds, tmp_path, **watched("Failing", max_steps=200)):
        assert outcome.error == "RuntimeError: no more"
        assert outcome.steps == 50


def test_histories_are_written_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(History, "EVERY", 0.0)
    monkeypatch.setattr(Split, "COST", 0)
    written: list[bool] = []

    class Looking(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.global_step == 6:  # in the second epoch
                written.extend("train/loss" in history.path.read_text() for history in histories)

    histories = [History(tmp_path / f"{seed}.csv") for seed in (0, 1)]
    members = [stack.Member(config(seed), seed, tmp_path, loggers(h)) for seed, h in enumerate(histories)]
    stack.run(members, callbacks=[Looking()])
    assert written == [True, True]

"""An interrupted Run ends with the bits of one that was not interrupted."""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor
from torchmetrics import MeanSquaredError

from benchmarks import resume, tracking, train
from benchmarks.resume import Snapshots
from tests.benchmarks.shapes import Line, Linear
from tests.benchmarks.suites import Interruption

SHAPES = "tests.benchmarks.shapes"
HERE = "tests.benchmarks.test_resume"


class Noted(Linear):
    """A linear model that logs and records in every way that the harness keeps."""

    def __init__(self, in_features: int, lr: float = 0.1, dropout: float = 0.3) -> None:
        super().__init__(in_features, lr, dropout)
        self.save_hyperparameters()
        self.error = MeanSquaredError()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss: Tensor = super().training_step(batch, batch_idx)  # type: ignore[assignment]
        self.record("noise", torch.rand(2) + float(np.random.rand()))
        self.log("train/largest", loss, on_step=False, on_epoch=True, reduce_fx="max")
        self.error(self(batch[0]), batch[1])
        self.log("train/squared", self.error, on_step=False, on_epoch=True)
        if batch_idx == 0:
            self.log("train/first", loss, on_step=False, on_epoch=True)
        return loss

    def on_train_start(self) -> None:
        self.record("noise", torch.rand(2))

    def on_train_epoch_start(self) -> None:
        self.record("noise", torch.rand(2))


def config(**entries: Any) -> dict[str, Any]:
    """Six batches an epoch, the last of them smaller."""
    return {
        "data": {"class_path": f"{SHAPES}.Line", "init_args": {"size": 44, "batch_size": 8, "seed": 3}},
        "model": {"class_path": f"{HERE}.Noted", "init_args": {"in_features": 2}},
        "fit": True,
        "callbacks": [],
        "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.02}},
        "lr_scheduler": {
            "class_path": "torch.optim.lr_scheduler.OneCycleLR",
            "init_args": {"max_lr": 0.1, "total_steps": None},
        },
        "trainer": {"max_epochs": 3, "log_every_n_steps": 1},
        "select": {"monitor": "train/loss", "mode": "min"},
        **entries,
    }


def execute(config: dict[str, Any], folder: Path, callbacks: Any = (), every: float = 0.0) -> tuple[Any, Any, Any]:
    """What a Run leaves: its outcome, its checkpoint and its history; from a snapshot where there is one."""
    folder.mkdir(exist_ok=True)
    history = tracking.History(folder / "history.csv")
    snapshots = Snapshots(folder / "resume.ckpt", every, [history], {"attempts": 0})
    snapshots.load()
    outcome = train.run(
        config,
        7,
        folder,
        loggers=lambda stage, first: [tracking.StageLogger(history, None, stage, first)],
        callbacks=callbacks,
        snapshots=snapshots,
    )
    saved = torch.load(folder / "checkpoint.ckpt", weights_only=True)["state_dict"]
    return outcome, saved, history.rows


def assert_same(one: tuple[Any, Any, Any], other: tuple[Any, Any, Any]) -> None:
    (outcome, weights, rows), (again, weights_again, rows_again) = one, other
    assert outcome.metrics == again.metrics
    assert outcome.steps == again.steps
    assert outcome.arrays.keys() == again.arrays.keys()
    assert all(torch.equal(array, again.arrays[name]) for name, array in outcome.arrays.items())
    assert weights.keys() == weights_again.keys()
    assert all(torch.equal(tensor, weights_again[name]) for name, tensor in weights.items())
    assert rows == rows_again


CASES: dict[str, dict[str, Any]] = {
    "epochs": {},
    "steps": {"trainer": {"max_steps": 14}},
    "accumulated": {"trainer": {"max_epochs": 3, "accumulate_grad_batches": 2}},
    "one batch an epoch": {
        "data": {"class_path": f"{SHAPES}.Line", "init_args": {"size": 8, "batch_size": 8, "seed": 3}},
        "trainer": {"max_epochs": 14},
    },
    "validation within epochs": {"trainer": {"max_epochs": 3, "val_check_interval": 0.5}},
    "plateau": {
        "lr_scheduler": {
            "class_path": "torch.optim.lr_scheduler.ReduceLROnPlateau",
            "init_args": {"patience": 0, "factor": 0.5},
            "monitor": "train/loss",
        }
    },
    "double precision": {"trainer": {"max_epochs": 3, "precision": "64-true"}},
    "no optimiser": {
        "data": {"class_path": f"{SHAPES}.Line", "init_args": {"size": 8, "batch_size": 8, "seed": 3}},
        "model": {"class_path": "zoo.mean_field.NoisyPerceptron", "init_args": {"in_features": 2, "lr": 0.5}},
        "trainer": {"max_epochs": 14},
    },
    "own loop": {"model": {"class_path": f"{SHAPES}.TinyGAN", "init_args": {"in_features": 2}}},
    "stages": {"model": {"class_path": f"{SHAPES}.Staged", "init_args": {"in_features": 2}}},
}


def case(name: str) -> dict[str, Any]:
    made = config(**copy.deepcopy(CASES[name]))
    if name in ("no optimiser", "own loop", "stages"):
        for key in ("optimizer", "lr_scheduler", "select"):
            del made[key]
    return made


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("batch", [1, 4, 6, 9, 13])
def test_resuming_after_sigterm_changes_no_bit(name: str, batch: int, tmp_path: Path) -> None:
    """In the first batch, within epochs and at the end of one."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    expected = execute(case(name), whole)
    with pytest.raises(SIGTERMException):
        execute(case(name), broken, [Interruption(batch, "sigterm")])
    assert_same(execute(case(name), broken), expected)


@pytest.mark.parametrize(
    ("name", "last"),
    [("epochs", 18), ("steps", 14), ("one batch an epoch", 14), ("own loop", 18), ("stages", 18), ("stages", 36)],
)
def test_an_interruption_in_the_last_batch_of_a_training_changes_no_bit(name: str, last: int, tmp_path: Path) -> None:
    """Of it, Lightning has nothing left to run; what stages or the test come after goes on from there."""
    expected = execute(case(name), tmp_path / "whole")
    with pytest.raises(SIGTERMException):
        execute(case(name), tmp_path / "broken", [Interruption(last, "sigterm")])
    assert_same(execute(case(name), tmp_path / "broken"), expected)


@pytest.mark.parametrize("before", [0, 1])
def test_an_early_end_comes_at_the_same_step_after_an_interruption(before: int, tmp_path: Path) -> None:
    """Interrupted in the batch after which the training would have ended, or in the one before."""
    made = case("no optimiser")
    made["data"] = {"class_path": "datamodules.BoundaryPoints", "init_args": {"size": 64, "dim": 8, "seed": 2}}
    made["model"]["init_args"] = {"in_features": 8, "minibatch": 2, "lr": 4.0}
    made["trainer"] = {"max_epochs": 500}
    expected = execute(made, tmp_path / "whole")
    epochs = round(expected[0].metrics["test/training_time"] / (4.0 * 32))
    assert 2 < epochs < 500
    with pytest.raises(SIGTERMException):
        execute(made, tmp_path / "broken", [Interruption(epochs - before, "sigterm")])
    again = execute(made, tmp_path / "broken")
    assert again[0].metrics["test/training_time"] == expected[0].metrics["test/training_time"]
    assert all(torch.equal(tensor, again[1][name]) for name, tensor in expected[1].items())


@pytest.mark.parametrize("name", CASES)
def test_resuming_from_the_last_snapshot_after_crashes_changes_no_bit(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "COST", 0)
    expected = execute(case(name), tmp_path / "whole")
    broken, attempts = tmp_path / "broken", 0
    for batch in (5, 4, 3):
        with pytest.raises(ConnectionError):
            execute(case(name), broken, [Interruption(batch, "crash")], every=1e-9)
        attempts += 1
    assert_same(execute(case(name), broken), expected)
    assert attempts == 3


def test_a_snapshot_loads_without_pickles_and_is_replaced_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SIGTERMException):
        execute(config(), tmp_path, [Interruption(4, "sigterm")])
    before = (tmp_path / "resume.ckpt").read_bytes()
    saved = torch.load(tmp_path / "resume.ckpt", weights_only=True)
    assert saved["paperzoo"]["position"] == 4

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        execute(config(), tmp_path, [Interruption(3, "sigterm")])
    assert (tmp_path / "resume.ckpt").read_bytes() == before
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("damage", [b"", b"no checkpoint", None])
def test_a_damaged_snapshot_is_as_good_as_none(
    damage: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = execute(config(), tmp_path / "whole")
    with pytest.raises(SIGTERMException):
        execute(config(), tmp_path, [Interruption(4, "sigterm")])
    path = tmp_path / "resume.ckpt"
    path.write_bytes(path.read_bytes()[:-2000] if damage is None else damage)
    assert_same(execute(config(), tmp_path), expected)
    assert "starts from its beginning" in capsys.readouterr().out


def test_no_time_means_no_snapshot_and_a_long_one_is_rarer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[float] = []
    monkeypatch.setattr(Snapshots, "_write", lambda self, trainer: written.append(0.0))
    execute(config(), tmp_path, every=0.0)
    assert not written
    clock = [0.0]
    monkeypatch.setattr("benchmarks.resume.time.monotonic", lambda: clock[0])

    def advance(self: Snapshots, trainer: Any) -> None:
        written.append(clock[0])
        clock[0] += 10.0  # what writing takes

    monkeypatch.setattr(Snapshots, "_write", advance)

    class Second(pl.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            clock[0] += 30.0

    execute(config(), tmp_path, [Second()], every=60.0)
    assert written[0] == 60.0
    assert all(later - sooner >= 10 + 10 * resume.COST for sooner, later in pairwise(written))
    assert len(written) == 3  # 18 batches of 30 s: after 60 s, then every 210 s


def test_the_data_of_a_resumed_epoch_are_the_rest_of_it() -> None:
    loader = Line(size=44, batch_size=8, seed=3).train_dataloader()
    loader.set_epoch(2)
    whole = [batch[0] for batch in loader]
    loader.load_state_dict({"position": 4})
    assert loader.state_dict() == {"position": 4}
    rest = [batch[0] for batch in loader]
    assert len(rest) == 2
    assert all(torch.equal(a, b) for a, b in zip(rest, whole[4:], strict=True))

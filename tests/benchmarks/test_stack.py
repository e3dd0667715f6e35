"""A stack of replicas trains each of them as it would have trained alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from benchmarks import resume, train
from tests.benchmarks.stacking import HERE, alone, assert_close, assert_same, config, optimizer, stacked
from tests.benchmarks.suites import Interruption
from zoo._replicas import Replicas

DOUBLE = {"trainer": {"max_steps": 200, "precision": "64-true"}}
CASES: dict[str, dict[str, Any]] = {
    "own optimiser": DOUBLE,
    "the same arrays for all": DOUBLE
    | {"data": {"class_path": "tests.benchmarks.shapes.Line", "init_args": {"size": 44, "batch_size": 8}}},
    "augmented": DOUBLE | {"data": {"class_path": f"{HERE}.Jittered", "init_args": {"size": 44, "batch_size": 8}}},
    "tied weights": DOUBLE | {"model": {"class_path": f"{HERE}.Tied", "init_args": {"in_features": 2}}},
    "clipped by norm": {"trainer": DOUBLE["trainer"] | {"gradient_clip_val": 0.1}},
    "clipped, with gradients that no optimiser sees": {
        "trainer": DOUBLE["trainer"] | {"gradient_clip_val": 0.5},
        "model": {"class_path": f"{HERE}.Partial", "init_args": {"in_features": 2}},
    },
    "gradients at test time": DOUBLE | {"model": {"class_path": f"{HERE}.Sensitive", "init_args": {"in_features": 2}}},
    "random numbers at test time": DOUBLE | {"model": {"class_path": f"{HERE}.Noisy", "init_args": {"in_features": 2}}},
    "a moving average in place": DOUBLE
    | {"model": {"class_path": f"{HERE}.Averaging", "init_args": {"in_features": 2}}},
    "batches of a loader of one's own": DOUBLE | {"data": {"class_path": f"{HERE}.Doubled"}},
    "clipped by value": {
        "trainer": DOUBLE["trainer"] | {"gradient_clip_val": 0.05, "gradient_clip_algorithm": "value"}
    },
    "accumulated": {"trainer": DOUBLE["trainer"] | {"accumulate_grad_batches": 2}},
    "schedule": DOUBLE
    | optimizer("Adam", lr=0.01)
    | {
        "lr_scheduler": {
            "class_path": "torch.optim.lr_scheduler.OneCycleLR",
            "init_args": {"max_lr": 0.1, "total_steps": None},
        }
    },
    "validation within epochs": {"trainer": DOUBLE["trainer"] | {"val_check_interval": 2}},
    "selected": DOUBLE | {"select": {"monitor": "val/loss", "mode": "min"}},
    "selected by the training loss": DOUBLE | {"select": {"monitor": "train/distance", "mode": "min"}},
    "watched": DOUBLE | {"callbacks": [{"class_path": f"{HERE}.Noting", "init_args": {}}]},
    **{
        name: DOUBLE | optimizer(name, lr=0.01)
        for name in ("Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "Rprop", "ASGD")
    },
}


@pytest.mark.parametrize("name", CASES)
def test_in_float64_each_replica_is_the_single_run_to_1e_9(name: str, tmp_path: Path) -> None:
    """After 200 steps: the rounding of 2e-16 a step may grow, but not by seven orders."""
    for seed, own in zip((0, 3), stacked([0, 3], tmp_path / "both", **CASES[name]), strict=True):
        assert_close(alone(seed, tmp_path / str(seed), **CASES[name]), own, 1e-9)


def test_in_mixed_precision_each_replica_is_the_single_run_to_the_format(tmp_path: Path) -> None:
    """Numbers of eight bits differ by up to 2^-8 of their size after one rounding; 23 steps sum some of these."""
    mixed: dict[str, Any] = {"trainer": {"max_steps": 23, "precision": "bf16-mixed"}}
    for seed, own in zip((0, 3), stacked([0, 3], tmp_path / "both", **mixed), strict=True):
        assert_close(alone(seed, tmp_path / str(seed), **mixed), own, 0.05)


def test_in_float32_the_gradients_of_a_step_agree_to_1e_5() -> None:
    """Single precision rounds at 6e-8, and sums of eight samples in another order differ by few units of that."""
    models, batches = [], []
    for seed in range(4):
        model, data = train.assemble(config(seed), seed)
        models.append(model)
        batches.append(next(iter(data.train_dataloader())))
    together = Replicas(models)
    together.scalars(tuple(map(torch.stack, zip(*batches, strict=True))))["loss"].sum().backward()
    for number, batch in enumerate(batches):
        model, _ = train.assemble(config(number), number)
        model.step(batch)["loss"].backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            gradient = together.stack.get_parameter(name).grad
            assert gradient is not None
            torch.testing.assert_close(gradient[number], parameter.grad, rtol=1e-5, atol=1e-5)


def test_stacks_of_any_size_agree_to_the_bit(tmp_path: Path) -> None:
    """A single seed too, which is padded to two."""
    together = stacked(list(range(32)), tmp_path / "32")
    for seeds in ([5], [5, 6], [7, 5, 31], list(range(5, 13))):
        part = stacked(seeds, tmp_path / str(len(seeds)))
        for seed, own in zip(seeds, part, strict=True):
            assert_same(together[seed], own)


def test_a_replica_that_diverges_is_halted_and_changes_nothing_for_the_others(tmp_path: Path) -> None:
    poisoned: dict[str, Any] = {
        "data": {"class_path": f"{HERE}.Cloud", "init_args": {"poisoned": 1}},
        "trainer": {"max_steps": 120},
    }
    first, bad, last = stacked([0, 1, 2], tmp_path / "three", **poisoned)
    assert bad[0].error == "FloatingPointError: the loss is nan at step 50"
    assert not (tmp_path / "three" / "1" / "checkpoint.ckpt").exists()
    for good, expected in zip((first, last), stacked([0, 2], tmp_path / "two", **poisoned), strict=True):
        assert_same(expected, good)
    (lone,) = stacked([1], tmp_path / "one", **poisoned)
    assert lone[0].error == bad[0].error
    assert lone[0].steps == 50, "nothing goes on when all are halted"


def test_a_halted_replica_keeps_its_weights() -> None:
    models = [train.assemble(config(seed), seed)[0] for seed in range(3)]
    together = Replicas(models)
    optimizer = torch.optim.Adam(together.parameters(), lr=0.1)
    before = [p.detach().clone() for p in together.parameters()]
    together.halt(1, "for the test")
    for parameter in together.parameters():
        parameter.grad = torch.ones_like(parameter)
    together.optimizer_step(0, 0, optimizer, None)
    for old, new in zip(before, together.parameters(), strict=True):
        assert torch.equal(old[1], new[1])
        assert not torch.isclose(old[[0, 2]], new[[0, 2]]).any()


def test_a_callback_that_fails_ends_its_own_replica(tmp_path: Path) -> None:
    noting: dict[str, Any] = {"callbacks": [{"class_path": f"{HERE}.Noting", "init_args": {"fails_for": 2}}]}
    first, bad, last = stacked([0, 2, 4], tmp_path / "three", **noting)
    assert bad[0].error == "RuntimeError: I do not like this seed"
    for seed, own in ((0, first), (4, last)):
        assert_close(alone(seed, tmp_path / str(seed), **noting), own, 1e-4)


def test_a_callback_that_does_more_than_look_is_told_so(tmp_path: Path) -> None:
    stopping: dict[str, Any] = {"callbacks": [{"class_path": f"{HERE}.Stopping", "init_args": {}}]}
    for outcome, _, _ in stacked([0, 1], tmp_path, **stopping):
        assert outcome.error.startswith("AttributeError: trainer.should_stop is shared with other seeds")


WATCHED: dict[str, Any] = {
    "callbacks": [{"class_path": f"{HERE}.Noting", "init_args": {"fails_for": 4}}],
    "select": {"monitor": "val/loss", "mode": "min"},
    "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.02}},
}


@pytest.mark.parametrize("batch", [2, 4, 5, 13])
def test_a_stack_resumes_to_the_bit_after_sigterm(batch: int, tmp_path: Path) -> None:
    """Within an epoch and at its end, before and after a replica was halted (in step 3)."""
    expected = stacked([0, 4, 2], tmp_path / "whole", **WATCHED)
    with pytest.raises(SIGTERMException):
        stacked([0, 4, 2], tmp_path / "broken", [Interruption(batch, "sigterm")], **WATCHED)
    again = stacked([0, 4, 2], tmp_path / "broken", **WATCHED)
    assert [one[0].error for one in again] == ["", "RuntimeError: I do not like this seed", ""]
    for one, other in zip(expected, again, strict=True):
        assert_same(one, other)


def test_a_stack_resumes_to_the_bit_after_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "COST", 0)
    expected = stacked([0, 1], tmp_path / "whole", **WATCHED)
    for batch in (5, 4, 3):
        with pytest.raises(ConnectionError):
            stacked([0, 1], tmp_path / "broken", [Interruption(batch, "crash")], every=1e-9, **WATCHED)
    for one, other in zip(expected, stacked([0, 1], tmp_path / "broken", **WATCHED), strict=True):
        assert_same(one, other)


def test_a_checkpoint_is_as_small_as_that_of_one_model(tmp_path: Path) -> None:
    stacked(list(range(20)), tmp_path / "twenty")
    alone(0, tmp_path / "alone")
    ours, theirs = ((tmp_path / where / "checkpoint.ckpt").stat().st_size for where in ("twenty/0", "alone"))
    assert ours <= 1.1 * theirs


def test_what_a_replica_left_loads_as_the_model_that_it_is(tmp_path: Path) -> None:
    from tests.benchmarks.stackable import Net

    for number, (outcome, _, _) in enumerate(stacked([0, 1, 2], tmp_path)):
        model = Net.load_from_checkpoint(tmp_path / str(number) / "checkpoint.ckpt", weights_only=True)
        _, data = train.assemble(config(number), number)
        x, y = data.load("test")  # type: ignore[attr-defined]
        loss = float(model.step((x, y))["loss"].detach())
        assert outcome.metrics["test/loss"] == pytest.approx(loss, rel=1e-5)
        assert outcome.stacked == 3

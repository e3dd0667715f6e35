"""The harness trains exactly as a plain PyTorch loop does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import train
from tests.benchmarks.shapes import Line, Linear

LINEAR = {"class_path": "tests.benchmarks.shapes.Linear", "init_args": {"in_features": 2, "dropout": 0.3}}
LINE = {"class_path": "tests.benchmarks.shapes.Line", "init_args": {"size": 40, "batch_size": 16, "seed": 5}}


def config(**entries: Any) -> dict[str, Any]:
    return {"model": LINEAR, "data": LINE, "fit": True, "trainer": {"max_epochs": 3}, "callbacks": [], **entries}


def plain(make_optimizer: Any, make_schedule: Any = None, per_step: bool = False) -> dict[str, torch.Tensor]:
    """Three epochs without Lightning, on the same batches and the same random numbers."""
    data = Line(size=40, batch_size=16, seed=5)
    torch.manual_seed(5)
    model = Linear(in_features=2, dropout=0.3)
    optimizer = make_optimizer(model.parameters())
    schedule = make_schedule(optimizer) if make_schedule else None
    loader = data.train_dataloader()
    for epoch in range(3):
        loader.set_epoch(epoch)
        for batch in loader:
            optimizer.zero_grad()
            model.step(batch)["loss"].backward()
            optimizer.step()
            if schedule and per_step:
                schedule.step()
        if schedule and not per_step:
            schedule.step()
    return model.state_dict()


def harness(tmp_path: Path, **entries: Any) -> dict[str, torch.Tensor]:
    train.run(config(**entries), 5, tmp_path)
    saved: dict[str, torch.Tensor] = torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)["state_dict"]
    return saved


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_models_own_optimiser(tmp_path: Path) -> None:
    assert same(harness(tmp_path), plain(lambda p: torch.optim.SGD(p, lr=0.1)))


def test_another_optimiser(tmp_path: Path) -> None:
    adam = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.03}}
    assert same(harness(tmp_path, optimizer=adam), plain(lambda p: torch.optim.Adam(p, lr=0.03)))


def test_a_schedule_by_epoch_keeps_the_models_optimiser(tmp_path: Path) -> None:
    schedule = {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 1, "gamma": 0.5}}
    expected = plain(lambda p: torch.optim.SGD(p, lr=0.1), lambda o: torch.optim.lr_scheduler.StepLR(o, 1, 0.5))
    assert same(harness(tmp_path, lr_scheduler=schedule), expected)


def test_a_schedule_over_all_steps_knows_their_number(tmp_path: Path) -> None:
    arguments = {"max_lr": 0.2, "total_steps": None}
    schedule = {"class_path": "torch.optim.lr_scheduler.OneCycleLR", "init_args": arguments}
    one_cycle = torch.optim.lr_scheduler.OneCycleLR
    expected = plain(lambda p: torch.optim.SGD(p, lr=0.1), lambda o: one_cycle(o, 0.2, total_steps=9), per_step=True)
    assert same(harness(tmp_path, lr_scheduler=schedule), expected)


def test_a_metric_to_select_by_must_be_logged(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"select.monitor is 'val/accuracy', but the model logs val/loss"):
        train.run(config(select={"monitor": "val/accuracy", "mode": "max"}), 5, tmp_path)


def test_the_training_loss_is_the_average_over_the_samples_of_an_epoch(tmp_path: Path) -> None:
    """Batches of 16, 16 and 8: with weights that do not move it is the loss of all forty."""
    still = {"class_path": "torch.optim.SGD", "init_args": {"lr": 1e-12}}
    model_entry = {"class_path": "tests.benchmarks.shapes.Linear", "init_args": {"in_features": 2}}
    metrics = train.run(config(optimizer=still, model=model_entry), 5, tmp_path).metrics
    model = Linear.load_from_checkpoint(tmp_path / "checkpoint.ckpt", weights_only=True).eval()
    x, y = Line(size=40).load("train")
    assert metrics["train/loss"] == pytest.approx(float((model(x) - y).square().mean().detach()), rel=1e-6)


def test_the_split_metrics_are_averages_over_samples(tmp_path: Path) -> None:
    metrics = train.run(config(), 5, tmp_path).metrics
    model = Linear.load_from_checkpoint(tmp_path / "checkpoint.ckpt", weights_only=True).eval()
    x, y = Line(size=40).load("test")
    assert metrics["test/loss"] == pytest.approx(float((model(x) - y).square().mean().detach()), rel=1e-6)

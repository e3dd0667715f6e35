"""Iterative magnitude pruning: exact densities, nested masks, weights put back, and round 0 as a plain training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from benchmarks import train
from tests.benchmarks.suites import Interruption
from tests.benchmarks.test_resume import assert_same, execute
from tests.sparse.methods import config as pruned
from zoo.sparse import LotteryTicket
from zoo.sparse._masks import Masked

NETWORK = {
    "class_path": "zoo.sparse.FullyConnected",
    "init_args": {"in_features": 12, "num_classes": 3, "widths": [16, 8]},
}
SIZES = {"layers.0.weight": 192, "layers.1.weight": 128, "layers.2.weight": 24}


def config(**arguments: Any) -> dict[str, Any]:
    made = pruned("Magnitude")
    network = {"class_path": "zoo.sparse.LotteryTicket", "init_args": {"model": NETWORK, "rounds": 3} | arguments}
    return made | {"model": network, "callbacks": []}


class Rounds(pl.Callback):
    """Notes the network's masks and weights at the start of each round."""

    def __init__(self) -> None:
        self.masks: list[dict[str, Tensor]] = []
        self.weights: list[dict[str, Tensor]] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        masked = Masked(pl_module.network)
        self.masks.append({name: found.clone() for name, found in masked.masks.items()})
        self.weights.append({name: found.detach().clone() for name, found in masked.weights.items()})


def watched(folder: Path, **arguments: Any) -> tuple[Rounds, dict[str, Tensor], train.Outcome]:
    rounds = Rounds()
    outcome = train.run(config(**arguments), 0, folder, callbacks=[rounds])
    return rounds, torch.load(folder / "checkpoint.ckpt", weights_only=True)["state_dict"], outcome


@pytest.mark.parametrize("scope", ["global", "uniform"])
def test_every_round_leaves_its_share_of_what_was_left(scope: str, tmp_path: Path) -> None:
    rounds, saved, outcome = watched(tmp_path, scope=scope)
    assert len(rounds.masks) == 4
    for number, masks in enumerate(rounds.masks):
        kept = {name: int(found.sum()) for name, found in masks.items()}
        if scope == "global":
            assert sum(kept.values()) == round(0.8**number * sum(SIZES.values()))
        else:
            assert kept == {name: round(0.8**number * size) for name, size in SIZES.items()}
    for before, after in zip(rounds.masks, rounds.masks[1:], strict=False):
        assert not any((after[name] & ~before[name]).any() for name in SIZES), "what is gone stays gone"
    for name in SIZES:
        assert not saved[f"network.{name}"][~rounds.masks[-1][name]].any()
        assert torch.equal(saved[f"mask.{name.replace('.', '/')}"], rounds.masks[-1][name])
    assert outcome.metrics["test/density"] == pytest.approx(sum(kept.values()) / 344, rel=1e-6)


def test_the_kept_weights_start_every_round_where_they_began(tmp_path: Path) -> None:
    rounds, saved, _ = watched(tmp_path)
    for masks, weights in zip(rounds.masks, rounds.weights, strict=True):
        for name in SIZES:
            assert torch.equal(weights[name], rounds.weights[0][name] * masks[name])
            assert torch.equal(saved[f"start.{name.replace('.', '/')}"], rounds.weights[0][name])


def test_the_control_keeps_masks_but_no_weights(tmp_path: Path) -> None:
    rounds, *_ = watched(tmp_path, restart="fresh")
    for name in SIZES:
        there = rounds.masks[1][name]
        assert not (rounds.weights[1][name] == rounds.weights[0][name])[there].any()
        assert not rounds.weights[1][name][~there].any()


def test_round_0_is_a_plain_training(tmp_path: Path) -> None:
    *_, outcome = watched(tmp_path)
    plain = train.run(config() | {"model": NETWORK}, 0, tmp_path)
    for name in ("val/loss", "val/accuracy", "train/loss"):
        assert outcome.metrics[f"round_0/{name}"] == plain.metrics[name]
    assert outcome.steps == 4 * plain.steps


def test_a_late_start_is_the_state_of_that_step_of_a_plain_training(tmp_path: Path) -> None:
    _, saved, _ = watched(tmp_path, rewind=7)
    train.run(config() | {"model": NETWORK, "trainer": {"max_steps": 7}}, 0, tmp_path)
    plain = torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)["state_dict"]
    for name, tensor in plain.items():
        assert torch.equal(saved[f"start.{name.replace('.', '/')}"], tensor)


@pytest.mark.parametrize("batch", [None, 4, 13])
def test_a_selection_of_before_does_not_undo_a_late_start(batch: int | None, tmp_path: Path) -> None:
    """The worst loss on validation data is that of the first epoch, and weights are put back to step 8, after it."""
    made = config(rewind=8, rounds=1) | {"select": {"monitor": "val/loss", "mode": "max"}}
    if batch:
        with pytest.raises(SIGTERMException):
            execute(made, tmp_path, [Interruption(batch, "sigterm")])
    _, saved, _ = execute(made, tmp_path)
    (tmp_path / "plain").mkdir()
    train.run(config() | {"model": NETWORK, "trainer": {"max_steps": 8}}, 7, tmp_path / "plain")
    plain = torch.load(tmp_path / "plain" / "checkpoint.ckpt", weights_only=True)["state_dict"]
    for name, tensor in plain.items():
        assert torch.equal(saved[f"start.{name.replace('.', '/')}"], tensor)


@pytest.mark.parametrize("batch", [1, 7, 18, 19, 30, 40, 71])
@pytest.mark.parametrize("arguments", [{"rewind": 7}, {"restart": "fresh"}], ids=["rewind", "fresh"])
def test_an_interruption_changes_no_bit(arguments: Any, batch: int, tmp_path: Path) -> None:
    """In rounds 0, 1, 2 and 3, before and after the step that weights are put back to."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    expected = execute(config(**arguments), whole)
    with pytest.raises(SIGTERMException):
        execute(config(**arguments), broken, [Interruption(batch, "sigterm")])
    assert_same(execute(config(**arguments), broken), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rounds": 0}, "rounds must be at least 1, got 0"),
        ({"keep": 1.0}, r"keep must lie in \(0, 1\), the share of the weights that a round leaves, got 1.0"),
        ({"rewind": -1}, "rewind must be at least 0, got -1"),
        ({"restart": "anew"}, "restart must be one of 'rewind', 'fresh', got 'anew'"),
        ({"scope": "local"}, "scope must be one of 'global', 'uniform', got 'local'"),
        ({"keep": 1e-5, "rounds": 1}, "keep 1e-05 in 1 rounds leaves none of the 344 weights: keep more"),
        ({"layers": ["layer.0"]}, "unknown layer 'layer.0'; did you mean layers.0"),
        ({"keep": 0.1, "rounds": 2, "scope": "uniform"}, "leaves no weight of the 24 in layers.2.weight"),
        (
            {"model": {**NETWORK, "class_path": "tests.benchmarks.shapes.Staged", "init_args": {"in_features": 2}}},
            "has stages",
        ),
    ],
)
def test_bad_input_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LotteryTicket(**{"model": NETWORK} | arguments)


def test_a_start_after_the_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rewind must be a step of round 0, which has 18, got 19"):
        train.run(config(rewind=19), 0, tmp_path)

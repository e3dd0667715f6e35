"""Fitting a stack of Runs as one module, and testing each: what is done here determines their results."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch

from benchmarks import train
from benchmarks.randomness import random_states, set_random_states
from benchmarks.train import Loggers, Outcome
from benchmarks.watching import PerReplica, Split, in_a_line
from datamodules._stacked import Stacked
from zoo._module import ZooModule
from zoo._replicas import Replicas
from zoo._stages import Stage

if TYPE_CHECKING:
    from benchmarks.resume import Snapshots


@dataclass(frozen=True)
class Member:
    """One Run of a stack: its configuration and seed, where its checkpoint goes, and what logs it."""

    config: Mapping[str, Any]
    seed: int
    folder: Path
    loggers: Loggers = lambda stage, first_step: ()
    left: bool = True  # or its Result is there already, and it only makes the stack what it was


def run(
    members: Sequence[Member],
    *,
    accelerator: str = "cpu",
    devices: Any = 1,
    callbacks: Sequence[pl.Callback] = (),
    snapshots: Snapshots | None = None,
) -> list[Outcome]:
    """Fits all members as one module, then selects, tests and saves each of them.

    The members' configurations differ in seeds and initial values alone. One member is padded to two: stacks agree
    among themselves to the bit, and with a model trained alone only to rounding. The outcome of a member that failed
    holds its error; `fit_seconds` is the stack's time divided by the number of members. Members that are not left to
    do have no outcome.
    """
    padded = [*members, *members[:1]] if len(members) == 1 else list(members)
    models, data, states = zip(*map(_assembled, padded), strict=True)
    own = [train.watchers(m.config)[1:] for m in members]  # what is not finite is looked for in all at once
    place = {"accelerator": accelerator, "devices": devices, "default_root_dir": members[0].folder}
    together, shared = Replicas(models), Outcome()
    if snapshots:
        snapshots.begin(together, shared)
    always = [*([snapshots] if snapshots else []), *callbacks, PerReplica(own, data)]
    trainer = train.fit(
        members[0].config,
        Stage("", together),
        Stacked(data),
        shared,
        lambda stage, first: [Split([member.loggers(stage, first) for member in members])],
        place,
        always,
        snapshots.enter(0) if snapshots else {},
    )
    outcomes, reached = [], (trainer.global_step, trainer.current_epoch)
    for number, member in enumerate(members):
        if member.left:
            outcome = _measured(number, len(members), together, shared)
            if not outcome.error:
                _count(trainer, *together.ended.get(number, reached))
                trainer.callbacks = list(own[number])  # type: ignore[attr-defined]
                pl.seed_everything(member.seed, workers=True, verbose=False)  # the device's, which are no one else's
                set_random_states(states[number])
                _test(member, together.release(number), data[number], outcome, trainer)
            outcomes.append(outcome)
    return outcomes


def _count(trainer: pl.Trainer, steps: int, epochs: int) -> None:
    """Sets the counters that a test is logged at, and a checkpoint is saved with, to those of one member."""
    trainer.fit_loop.epoch_progress.current.completed = epochs
    loop = trainer.fit_loop.epoch_loop
    loop._batches_that_stepped = loop.automatic_optimization.optim_progress.optimizer.step.total.completed = steps


def _assembled(member: Member) -> tuple[ZooModule, pl.LightningDataModule, dict[str, Any]]:
    """A member's model and data, and the random states with which it would go on if it trained alone."""
    model, data = train.assemble(member.config, member.seed)
    return model, data, random_states()


def _measured(number: int, of: int, together: Replicas, shared: Outcome) -> Outcome:
    """One member's share of what was measured in the training of all."""
    prefix = f"{number}/"
    metrics = {k.removeprefix(prefix): v for k, v in shared.metrics.items() if k.startswith(prefix)}
    steps, _ = together.ended.get(number, (shared.steps, 0))
    outcome = Outcome(metrics, steps=steps, fit_seconds=shared.fit_seconds / of, stacked=of)
    outcome.error = together.halted.get(number, "")
    return outcome


def _test(
    member: Member, model: ZooModule, data: pl.LightningDataModule, outcome: Outcome, trainer: pl.Trainer
) -> None:
    """Adds what a member's own test measures, by the trainer of all.

    Raises OSError and MemoryError: what the machine lacks is no fault of the member's, and the training is not lost.
    """
    try:
        trainer.loggers = list(member.loggers("", 0))
        train.evaluate(trainer, model, data, outcome, member.folder)
    except (OSError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a test may raise anything: the other members' go on
        traceback.print_exc()
        outcome.error = in_a_line(error)

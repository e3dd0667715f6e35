"""Fitting a stack of Runs as one module, and testing each: what is done here determines their results."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl

from benchmarks import train
from benchmarks.train import Loggers, Outcome
from benchmarks.watching import PerReplica, Split, in_a_line
from datamodules._stacked import Stacked
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
    holds its error; `fit_seconds` is the stack's time divided by the number of members.
    """
    padded = [*members, *members[:1]] if len(members) == 1 else list(members)
    models, data = zip(*(train.assemble(m.config, m.seed) for m in padded), strict=True)
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
    data = data[: len(members)]
    return [_tested(n, member, data, own[n], together, shared, trainer) for n, member in enumerate(members)]


def _tested(
    number: int,
    member: Member,
    data: Sequence[pl.LightningDataModule],
    callbacks: Sequence[pl.Callback],
    together: Replicas,
    shared: Outcome,
    trainer: pl.Trainer,
) -> Outcome:
    """What one member measured, in a test of its own by the trainer of all."""
    prefix, model = f"{number}/", together.release(number)
    metrics = {k.removeprefix(prefix): v for k, v in shared.metrics.items() if k.startswith(prefix)}
    seconds = shared.fit_seconds / len(data)
    outcome = Outcome(metrics, steps=shared.steps, fit_seconds=seconds, stacked=len(data))
    outcome.error = together.halted.get(number, "")
    if outcome.error:
        return outcome
    try:
        trainer.loggers = list(member.loggers("", 0))
        trainer.callbacks = list(callbacks)  # type: ignore[attr-defined]
        train.evaluate(trainer, model, data[number], outcome, member.folder)
    except Exception as error:  # a test may raise anything: the other members' go on
        traceback.print_exc()
        outcome.error = in_a_line(error)
    return outcome

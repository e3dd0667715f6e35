"""Fitting and testing one Run: what is done here determines its result, and enters its id."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import Logger
from torch import Tensor

from benchmarks.build import build
from benchmarks.selection import BestWeights, FiniteLoss
from zoo._module import ZooModule
from zoo._stages import Stage

if TYPE_CHECKING:
    from benchmarks.resume import Snapshots
    from benchmarks.together import Together

#: Makes the loggers of a stage from its name and the number of steps before it.
Loggers = Callable[[str, int], Sequence[Logger]]


@dataclass
class Outcome:
    """What a Run measured."""

    metrics: dict[str, float] = field(default_factory=dict)
    arrays: dict[str, Tensor] = field(default_factory=dict)
    params: int = 0
    steps: int = 0
    fit_seconds: float = 0.0
    stacked: int = 1  # models that were trained together; the seconds are one's share
    error: str = ""  # why there is nothing else, of a replica whose stack went on without it


def assemble(config: Mapping[str, Any], seed: int) -> tuple[ZooModule, pl.LightningDataModule]:
    """The model, initialised by the seed alone, and its data."""
    data = build(config["data"])
    data._log_hyperparams = False  # the whole configuration is logged; Lightning refuses names that the model has too
    pl.seed_everything(seed, workers=True, verbose=False)
    model = build(config["model"])
    if config["trainer"].get("precision") in (64, "64", "64-true"):
        model.double()  # as Lightning does, but before it restores weights, which would pass through single precision
    if "optimizer" in config or "lr_scheduler" in config:
        own = model.configure_optimizers
        model.configure_optimizers = partial(_optimizers, model, own, config)
    return model, data


def _optimizers(model: ZooModule, own: Callable[[], Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The benchmark's optimiser and schedule in place of the model's; a schedule alone keeps the optimiser."""
    if "optimizer" in config:
        optimizer = build(config["optimizer"], model.parameters())
    else:
        theirs = own()
        optimizer = theirs["optimizer"] if isinstance(theirs, dict) else theirs
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise ValueError(f"lr_scheduler: {type(model).__name__} has no single optimiser to schedule")
    if "lr_scheduler" not in config:
        return {"optimizer": optimizer}
    entry = json.loads(json.dumps(config["lr_scheduler"]))
    per_step = entry["init_args"].get("total_steps", 0) is None
    if per_step:
        entry["init_args"]["total_steps"] = int(model.trainer.estimated_stepping_batches)
    how = {"interval": "step" if per_step else "epoch"} | {k: entry[k] for k in ("interval", "monitor") if k in entry}
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": build(entry, optimizer), **how}}


def run(
    config: Mapping[str, Any],
    seed: int,
    folder: Path,
    *,
    accelerator: str = "cpu",
    devices: Any = 1,
    loggers: Loggers = lambda stage, first_step: (),
    callbacks: Sequence[pl.Callback] = (),
    snapshots: Snapshots | None = None,
    together: Together | None = None,
) -> Outcome:
    """Fits (unless the configuration says not to), selects, tests and saves `checkpoint.ckpt` in the folder.

    With snapshots, the training goes on from the one that was loaded. Together with other processes, each of them
    makes this call, and rank 0 saves. Raises FloatingPointError where a loss or a test metric is not finite.
    """
    model, data = assemble(config, seed)
    outcome = Outcome()
    first = snapshots.begin(model, outcome) if snapshots else 0
    always = [*([snapshots] if snapshots else []), *(together.callbacks if together else []), *callbacks]
    place = {"accelerator": accelerator, "devices": devices, "default_root_dir": folder, "together": together}
    trainer = None
    stages = (model.stages() or (Stage("", model),)) if config["fit"] else ()
    for number, stage in list(enumerate(stages))[first:]:
        entry = snapshots.enter(number) if snapshots else {}
        watching = [*always, *watchers(config)]
        trainer = fit(config, stage, data, outcome, loggers, place, watching, entry)
        if stage.module is not model and isinstance(stage.module, ZooModule):
            outcome.arrays |= {f"{stage.name}/{name}": array for name, array in _recorded(stage.module, together)}
    if trainer is None or model.stages():
        trainer = make_trainer(config, {}, place, loggers("", outcome.steps), model, [*always, *watchers(config)])
    evaluate(trainer, model, data, outcome, folder, together)
    return outcome


def evaluate(
    trainer: pl.Trainer,
    model: ZooModule,
    data: pl.LightningDataModule,
    outcome: Outcome,
    folder: Path,
    together: Together | None = None,
) -> None:
    """Adds what a fitted model's test measures to its outcome, and saves `checkpoint.ckpt`."""
    trainer.test(model, datamodule=data, verbose=False)
    outcome.metrics |= _finite(trainer.callback_metrics)
    outcome.arrays |= dict(_recorded(model, together))
    outcome.params = sum(p.numel() for p in model.parameters())
    _save(trainer, model, folder / "checkpoint.ckpt")


def watchers(config: Mapping[str, Any]) -> list[pl.Callback]:
    """The callbacks that a configuration asks for, with those that it needs."""
    asked = [FiniteLoss(), *map(build, config["callbacks"])]
    return [*asked, BestWeights(**config["select"])] if "select" in config else asked


def _recorded(module: ZooModule, together: Together | None) -> Iterable[tuple[str, Tensor]]:
    return (together.records(module.recorded) if together else module.recorded).items()


def fit(
    config: Mapping[str, Any],
    stage: Stage,
    data: pl.LightningDataModule,
    outcome: Outcome,
    loggers: Loggers,
    place: Mapping[str, Any],
    callbacks: Sequence[pl.Callback],
    entry: Mapping[str, Any],
) -> pl.Trainer:
    """Fits a stage, and adds what that measures to the outcome."""
    view = stage.data(data)
    spec = getattr(view, "spec", None)
    unvalidated = {"limit_val_batches": 0} if spec and not spec.sizes.get("val") else {}
    changes = {**stage.trainer, **unvalidated}
    trainer = make_trainer(config, changes, place, loggers(stage.name, outcome.steps), stage.module, callbacks)
    start = time.perf_counter()
    trainer.fit(stage.module, datamodule=view, **entry)
    if trainer.strategy.root_device.type == "cuda":
        torch.cuda.synchronize()
    outcome.fit_seconds += time.perf_counter() - start
    outcome.steps += trainer.global_step
    prefix = f"{stage.name}/" if stage.name else ""
    outcome.metrics |= {prefix + name: float(value) for name, value in trainer.callback_metrics.items()}
    return trainer


def make_trainer(
    config: Mapping[str, Any],
    changes: Mapping[str, Any],
    place: Mapping[str, Any],
    loggers: Sequence[Logger],
    module: pl.LightningModule,
    callbacks: Sequence[pl.Callback],
) -> pl.Trainer:
    """The trainer of a configuration, with a stage's changes, at its place, in the harness's quiet way."""
    settings = {key: value for key, value in config["trainer"].items() if key not in ("devices", "strategy")}
    many, last = {"use_distributed_sampler": False}, []
    if together := place.get("together"):
        many, last = together.arguments(config, module), [together.last]
    return pl.Trainer(
        **{**settings, **changes, **many},
        **{key: value for key, value in place.items() if key != "together"},
        logger=list(loggers) or False,
        callbacks=[*callbacks, *last],
        inference_mode=getattr(module, "inference_mode", True),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
    )


def _finite(metrics: Mapping[str, Tensor]) -> dict[str, float]:
    values = {name: float(value) for name, value in metrics.items() if name.startswith("test/")}
    for name, value in values.items():
        if not math.isfinite(value):
            raise FloatingPointError(f"{name} is {value}")
    return values


def _save(trainer: pl.Trainer, model: ZooModule, path: Path) -> None:
    """Weights and hyper-parameters, whole or not at all."""
    partial_file = path.with_suffix(".partial")
    trainer.save_checkpoint(partial_file, weights_only=True)
    if trainer.is_global_zero:
        partial_file.replace(path)

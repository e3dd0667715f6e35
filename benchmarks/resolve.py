"""From a label's settings to the complete configuration of a Run, checked on the way."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import lightning.pytorch as pl
import torch

from benchmarks import ranks
from benchmarks.build import build
from benchmarks.check import Checker
from benchmarks.problems import close_matches
from datamodules import DataMissing, Spec
from zoo._module import ZooModule
from zoo._stackable import refusal

#: Trainer arguments that the harness sets itself.
HARNESS = (
    "logger",
    "callbacks",
    "default_root_dir",
    "accelerator",
    "num_nodes",
    "plugins",
    "enable_progress_bar",
    "enable_model_summary",
    "enable_checkpointing",
    "enable_autolog_hparams",
    "inference_mode",
    "fast_dev_run",
    "barebones",
    "profiler",
    "num_sanity_val_steps",
    "model_registry",
    "use_distributed_sampler",
)


class NotHere(Exception):
    """Data or a device that a benchmark needs is absent; the message says what and how to get it."""


@dataclass
class Resolver:
    """Checks and completes the entries of one benchmark file."""

    checker: Checker
    specs: dict[str, tuple[dict[str, Any], Spec] | None] = field(default_factory=dict)
    misfits: dict[str, str] = field(default_factory=dict)

    def data(self, entry: str, node: Any, seed: int) -> tuple[dict[str, Any], Spec] | None:
        """The data entry with its arguments, and what the data module knows of itself.

        Raises NotHere where files are missing.
        """
        resolved = self.checker.resolve(entry, node, pl.LightningDataModule, fill={"seed": seed})
        if resolved is None:
            return None
        try:
            module = build(resolved)
            module.prepare_data()
            return resolved, module.spec
        except DataMissing as error:
            raise NotHere(str(error)) from error
        except (ValueError, TypeError, ImportError) as error:
            self.checker.add(f"{entry}.init_args", str(error))
            return None

    def settings(self, label: str, settings: Mapping[str, Any], seed: int) -> tuple[dict[str, Any], Spec] | None:
        """The complete configuration of a label, and its data's spec; None where something is wrong."""
        own = f"models.{label}"
        data = self._once("data", settings["data"], seed)
        data_entry, spec = data or (None, None)
        model = self._model(own, settings["model"], spec) if spec else None
        config: dict[str, Any] = {"data": data_entry, "model": model, "fit": settings["fit"]}
        optimizer = {"optimizer": (torch.optim.Optimizer, ("params",), ())}
        schedule = {"lr_scheduler": (torch.optim.lr_scheduler.LRScheduler, ("optimizer",), ("interval", "monitor"))}
        for key, (base, given, extra) in (optimizer | schedule).items():
            if key in settings:
                config[key] = self.checker.resolve(key, settings[key], base, given=given, extra=extra)
        if (schedule_entry := config.get("lr_scheduler")) and "total_steps" in schedule_entry["init_args"]:
            schedule_entry.setdefault("interval", "step")  # a schedule over a number of steps goes step by step
        callbacks = enumerate(settings.get("callbacks", ()))
        config["callbacks"] = [self.checker.resolve(f"callbacks[{i}]", node, pl.Callback) for i, node in callbacks]
        config["trainer"] = self._trainer(settings)
        if "select" in settings:
            config["select"] = {"mode": "min", **settings["select"]}
        if spec is None or None in (*config["callbacks"], *config.values()):
            return None
        return (config, spec) if self._fits(label, config, spec) else None

    def _model(self, entry: str, node: Any, spec: Spec) -> dict[str, Any] | None:
        """The model entry with its arguments, those of a model among them filled in as well."""
        arguments = node.get("init_args") if isinstance(node, dict) else None
        if isinstance(arguments, dict):
            inner = {key: value for key, value in arguments.items() if isinstance(value, dict) and _describes(value)}
            made = {key: self._model(f"{entry}.init_args.{key}", value, spec) for key, value in inner.items()}
            if None in made.values():
                return None
            node = {**node, "init_args": {**arguments, **made}}
        return self.checker.resolve(entry, node, ZooModule, fill=spec.arguments)

    @staticmethod
    def key(node: Any, seed: int) -> str:
        """What `specs` remembers a data entry under."""
        return json.dumps([node, seed], sort_keys=True, default=str)

    def _once(self, entry: str, node: Any, seed: int) -> tuple[dict[str, Any], Spec] | None:
        key = self.key(node, seed)
        if key not in self.specs:
            self.specs[key] = self.data(entry, node, seed)
        return self.specs[key]

    def _trainer(self, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        asked = settings["trainer"]
        wrong = ranks.wrong_settings(asked)
        rest = {key: value for key, value in asked.items() if key not in wrong}
        resolved = self.checker.arguments("trainer", pl.Trainer, rest, {}, given=HARNESS)
        for key, message in wrong.items():
            self.checker.add(f"trainer.{key}", message, close_matches(str(asked[key]), ranks.STRATEGIES))
        if resolved is None or wrong:
            return None
        lengths = [key for key in ("max_steps", "max_epochs") if asked.get(key) is not None]
        if settings["fit"] and (not lengths or asked.get("max_steps", 0) is None):
            self.checker.add("trainer", "a benchmark that fits says for how long: max_steps or max_epochs, a number")
            return None
        return {key: resolved[key] for key in asked}

    def _fits(self, label: str, config: Mapping[str, Any], spec: Spec) -> bool:
        """Whether the model can be built, trained and given a batch of the data: tried on the meta device."""
        model = self._built(f"models.{label}", config["model"])
        reason = model is not None and (_objection(model, config, spec) or self._tried(label, model, config, spec))
        if reason:
            self.checker.add(f"models.{label}", reason)
        return reason == "" and model is not None and self._watched(model, config)

    def _tried(self, label: str, model: ZooModule, config: Mapping[str, Any], spec: Spec) -> str:
        """Why a model cannot take the data's batches: found out once for what leaves both as they are.

        What has to be tried on the host may take as long as a Run, and is tried at one point of a label's sweep.
        """
        which = label if "meta" in model.exceptions else config["model"]
        replaced = {"optimizer", "lr_scheduler"} & set(config)
        key = json.dumps([which, config["data"]["class_path"], repr(spec.batch), sorted(replaced)], default=str)
        if key not in self.misfits:
            self.misfits[key] = _misfit(model, config, spec)
        return self.misfits[key]

    def _watched(self, model: ZooModule, config: Mapping[str, Any]) -> bool:
        """Whether every callback can be built, and has nothing against the model and its data (`refusal`)."""
        before = len(self.checker.problems)
        for number, node in enumerate(config["callbacks"]):
            try:
                callback = build(node)
                refusal = getattr(callback, "refusal", None)
                reason = refusal(model, build(config["data"])) if refusal else ""
            except Exception as error:  # a constructor may raise anything
                reason = _first_line(error)
            if reason:
                self.checker.add(f"callbacks[{number}]", reason)
        return len(self.checker.problems) == before

    def _built(self, entry: str, node: Mapping[str, Any]) -> ZooModule | None:
        try:
            with torch.device("meta"):
                model: ZooModule = build(node)
            return build(node) if "meta" in model.exceptions else model
        except Exception as error:  # a constructor may raise anything; the user needs the entry beside it
            message = _first_line(error)
            about = message.partition(" ")[0]
            self.checker.add(f"{entry}.init_args" + (f".{about}" if about in node["init_args"] else ""), message)
            return None


def _describes(value: Mapping[str, Any]) -> bool:
    """Whether an argument describes an untrained model; another Run's model was resolved with that Run."""
    return "class_path" in value and "from" not in value


def _objection(model: ZooModule, config: Mapping[str, Any], spec: Spec) -> str:
    """Why a model cannot be trained as the configuration says; empty where it can."""
    name, devices = type(model).__name__, ranks.world_size(config)
    overrides = type(model).configure_optimizers is not pl.LightningModule.configure_optimizers
    if config["fit"] and not overrides and "optimizer" not in config and not model.stages():
        return f"{name} has no optimiser of its own: give an optimizer entry"
    if model.stages() and {"optimizer", "lr_scheduler"} & set(config):
        return f"{name} has stages with optimisers of their own: leave optimizer out"
    replaced = [key for key in ("optimizer", "lr_scheduler") if key in config]
    if overrides and not model.automatic_optimization and replaced:
        entries = " and ".join(replaced)
        return f"{name} has a loop and steps of its own: leave {entries} out, or give it to the labels that use it"
    size, batch = spec.sizes["train"], config["data"]["init_args"].get("batch_size", math.inf)
    if model.one_batch and config["fit"] and batch < size:
        remedy = f"give the data batch_size {size}, not {batch}"
        return f"{name} is fitted to one batch of all {size} training samples: {remedy}"
    if devices > 1 and (reason := _undivided(model, config["fit"], spec, devices)):
        return f"trainer.devices is {devices}, but {reason}: give it one device"
    return ""


def _misfit(model: ZooModule, config: Mapping[str, Any], spec: Spec) -> str:
    """Why a model cannot take the data's batches, one by one or stacked; empty where it can."""
    kind = type(model)
    batch = spec.example(2, "cpu" if "meta" in model.exceptions else "meta")
    try:
        model.step(batch) if kind.step is not ZooModule.step else model(*model.inputs(batch))
    except Exception as error:  # whatever an impossible pair raises
        shapes = ", ".join(str(("N", *f.shape)).replace("'", "") for f in spec.batch)
        name = config["data"]["class_path"].rpartition(".")[2]
        return f"{kind.__name__} cannot take the batches of {name} (shapes {shapes}): {_first_line(error)}"
    if kind.vectorizes and (reason := refusal(model, batch, {"optimizer", "lr_scheduler"} & set(config))):
        return f"{kind.__name__} declares vectorizes, but {reason}: leave it False, and seeds train one by one"
    return ""


def _undivided(model: ZooModule, fits: bool, spec: Spec, devices: int) -> str:
    """Why a model and its data cannot be shared among several devices; empty where they can."""
    for part in [stage.module for stage in model.stages()] or [model] if fits else ():
        if not any(parameter.requires_grad for parameter in part.parameters()):
            return f"{type(part).__name__} has no trainable parameters, whose gradients the processes would average"
    for split in ("val", "test"):
        if 0 < (size := spec.sizes.get(split, 0)) < devices:
            return f"split {split} has only {size} sample{'s' * (size > 1)}, and each device takes some"
    return ""


def _first_line(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0] or type(error).__name__
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"

"""Which models can be trained as replicas in a stack, and why others cannot."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from zoo._module import ZooModule
from zoo._recipes import unserved
from zoo._replicas import Replicas

#: What Lightning calls on the module that it trains or makes a snapshot of: on a stack, not on the models in it.
UNCALLED = (
    *(n for n in dir(pl.LightningModule) if n.startswith(("on_train", "on_val", "on_fit", "on_before", "on_after"))),
    *("training_step", "validation_step", "backward", "optimizer_step", "optimizer_zero_grad", "configure_model"),
    *("configure_gradient_clipping", "lr_scheduler_step", "transfer_batch_to_device"),
    *("setup", "teardown", "prepare_data", "configure_callbacks", "on_save_checkpoint", "on_load_checkpoint"),
)


def refusal(model: ZooModule, batch: Any | None = None, replaced: Collection[str] = ()) -> str:
    """Why a model cannot be stacked, or nothing; with a batch of any device, `step` is tried on two replicas.

    `optimizer` and `lr_scheduler` may be replaced by others than the model's own: these are then not looked at.
    """
    kind = type(model)
    if not kind.vectorizes:
        return "it does not declare vectorizes"
    if model.stages() or not model.automatic_optimization:
        return "it has stages or a loop of its own"
    if kept := [name for name, part in model.named_modules() if keeps_statistics(part)]:
        return f"{kept[0]} keeps batch statistics"
    if own := [name for name in UNCALLED if getattr(kind, name) is not getattr(ZooModule, name)]:
        return f"it defines {own[0]}, which is not called for a stack"
    if "optimizer" not in replaced and (reason := _own_recipe(model, "lr_scheduler" in replaced)):
        return reason
    return _trial(model, batch) if batch is not None else ""


def keeps_statistics(part: nn.Module) -> bool:
    """Whether a layer's output depends on the other samples of its batches, in running statistics."""
    return isinstance(part, nn.modules.batchnorm._BatchNorm) or getattr(part, "track_running_stats", False)


def _own_recipe(model: ZooModule, rescheduled: bool) -> str:
    """What is against the model's own optimiser and schedule; nothing where it takes a trainer to know."""
    try:
        made = model.configure_optimizers()
    except RuntimeError:
        return ""
    except ValueError as error:
        return f"its configure_optimizers raises ValueError: {error}"
    if rescheduled and isinstance(made, dict):
        made = made.get("optimizer")
    return unserved(made) if made is not None else ""


def _trial(model: ZooModule, batch: Any) -> str:
    together = Replicas([copy.deepcopy(model) for _ in range(2)])
    together.stack.log = together.stack.log_dict = _not_here  # type: ignore[method-assign]
    together.stack.step = partial(_unreplacing, together.stack, together.stack.step)  # type: ignore[method-assign]
    pair = tuple(torch.stack([tensor, tensor]) for tensor in batch)
    try:
        together.scalars(pair)["loss"].sum().backward()
        together.eval().scalars(pair)
    except Exception as error:  # whatever torch says of what cannot be mapped over
        said = str(error).strip().partition("\n")[0]
        if "random operation" in said:
            return "its step draws random numbers, which have to come with the batch"
        return f"its step cannot be mapped over replicas: {said}"
    return "its step records, which is for callbacks and test_step" if together.stack._records else ""


def _unreplacing(stack: ZooModule, step: Callable[[Any], dict[str, Tensor]], batch: Any) -> dict[str, Tensor]:
    """A step that raises where it puts another tensor in a place of the module's: a stack would lose it."""
    parts = [part for module in stack.modules() for part in (module._parameters, module._buffers)]
    before = [dict(part) for part in parts]
    scalars = step(batch)
    for part, own in zip(parts, before, strict=True):
        if changed := [name for name, tensor in part.items() if tensor is not own.get(name)]:
            raise RuntimeError(f"it replaces {changed[0]}, which has to be changed in place")
    return scalars


def _not_here(*_: Any, **__: Any) -> None:
    raise RuntimeError("it logs, and has to return its scalars instead")

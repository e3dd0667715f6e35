"""Which models can be trained as replicas in a stack, and why others cannot."""

from __future__ import annotations

import copy
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn

from zoo._module import ZooModule
from zoo._replicas import Replicas, optimizer_of

#: Optimisers whose step treats every number alike, whatever tensor it is in.
ELEMENTWISE = tuple(
    getattr(torch.optim, name)
    for name in ["SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "Rprop", "ASGD"]
)
#: What Lightning calls on the module that it trains: on a stack, not on the models in it.
UNCALLED = (
    *(n for n in dir(pl.LightningModule) if n.startswith(("on_train", "on_val", "on_fit", "on_before", "on_after"))),
    *("training_step", "validation_step", "backward", "optimizer_step", "optimizer_zero_grad", "configure_model"),
    *("configure_gradient_clipping", "lr_scheduler_step", "transfer_batch_to_device"),
)


def refusal(model: ZooModule, batch: Any | None = None) -> str:
    """Why a model cannot be stacked, or nothing; with a batch of any device, `step` is tried on two replicas."""
    kind = type(model)
    if not kind.vectorizes:
        return "it does not declare vectorizes"
    if model.stages() or not model.automatic_optimization:
        return "it has stages or a loop of its own"
    if kept := [name for name, part in model.named_modules() if keeps_statistics(part)]:
        return f"{kept[0]} keeps batch statistics"
    if own := [name for name in UNCALLED if getattr(kind, name) is not getattr(ZooModule, name)]:
        return f"it defines {own[0]}, which is not called for a stack"
    if (optimizer := _own_optimizer(model)) and not isinstance(optimizer, ELEMENTWISE):
        return f"its optimiser {type(optimizer).__name__} is not element-wise"
    return _trial(model, batch) if batch is not None else ""


def keeps_statistics(part: nn.Module) -> bool:
    """Whether a layer's output depends on the other samples of its batches, in running statistics."""
    return isinstance(part, nn.modules.batchnorm._BatchNorm) or getattr(part, "track_running_stats", False)


def _own_optimizer(model: ZooModule) -> torch.optim.Optimizer | None:
    """The optimiser that a model brings along; none where that takes a trainer to know."""
    try:
        return optimizer_of(model.configure_optimizers())
    except (RuntimeError, ValueError):
        return None


def _trial(model: ZooModule, batch: Any) -> str:
    together = Replicas([copy.deepcopy(model) for _ in range(2)])
    together.stack.log = together.stack.log_dict = _not_here  # type: ignore[method-assign]
    try:
        together.scalars(tuple(torch.stack([tensor, tensor]) for tensor in batch))["loss"].sum().backward()
    except Exception as error:  # whatever torch says of what cannot be mapped over
        said = str(error).strip().partition("\n")[0]
        if "random operation" in said:
            return "its step draws random numbers, which have to come with the batch"
        return f"its step cannot be mapped over replicas: {said}"
    return "its step records, which is for callbacks and test_step" if together.stack._records else ""


def _not_here(*_: Any, **__: Any) -> None:
    raise RuntimeError("it logs, and has to return its scalars instead")

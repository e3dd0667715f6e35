"""Gradients as one vector, how far apart two are, and what autograd keeps for one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def gradient_of(loss: Tensor, module: nn.Module) -> Tensor:
    """The gradient of a loss in all parameters of a module, flat."""
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(module.parameters()))])


def relative_error(gradient: Tensor, true: Tensor) -> Tensor:
    """sum |g - g*| / sum |g*|."""
    return (gradient - true).abs().sum() / true.abs().sum()


def kept(run: Callable[[], Tensor], module: nn.Module) -> tuple[Tensor, int]:
    """What a function returns, and the bytes of the storages that autograd keeps for it beside the module's own."""
    own = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    kept: dict[int, Tensor] = {}  # alive until the sum is taken, so that no address is given twice

    def keep(tensor: Tensor) -> Tensor:
        if (address := tensor.untyped_storage().data_ptr()) not in own:
            kept[address] = tensor.detach()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = run()
    return result, sum(tensor.untyped_storage().nbytes() for tensor in kept.values())

"""Scores of weights at initialisation: derivatives taken on the side, which leave a model as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from zoo._module import ZooModule


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Within it a model may be run in any mode: its buffers, modes and the random numbers to come are put back."""
    modes = {part: part.training for part in module.modules()}
    buffers = [(p, n, b, b.clone()) for p in modes for n, b in p._buffers.items() if b is not None]
    devices = {parameter.device for parameter in module.parameters() if parameter.is_cuda}
    with torch.random.fork_rng(devices), torch.enable_grad():
        try:
            yield
        finally:
            for part, name, buffer, before in buffers:
                part._buffers[name] = buffer.copy_(before)
            for part, mode in modes.items():
                part.training = mode


def no_step(model: nn.Module) -> str:
    """Why a model has no loss to differentiate; nothing where it has."""
    if isinstance(model, ZooModule) and type(model).step is not ZooModule.step:
        return ""
    return f"{type(model).__name__} has no step, by whose loss its weights could be scored"


def loss_gradients(
    module: Any, batch: Any, weights: Mapping[str, Tensor], *, create_graph: bool = False
) -> dict[str, Tensor]:
    """d loss / d weight of a batch, in the mode that the model is in; zero for weights that take no part."""
    loss = module.step(batch)["loss"]
    found = torch.autograd.grad(loss, list(weights.values()), create_graph=create_graph, materialize_grads=True)
    return dict(zip(weights, found, strict=True))


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Attention and recurrent layers by kernels whose gradients can be differentiated again."""
    with sdpa_kernel(SDPBackend.MATH), torch.backends.cudnn.flags(enabled=False):
        yield

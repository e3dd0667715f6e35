"""The linearisation of a network in its parameters, and what it interpolates in closed form."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, jvp

Change = dict[str, Tensor]  # of each parameter, by its name


def tangent_features(model: nn.Module, x: Tensor) -> Tensor:
    """J(x) = d f(x) / d theta at the model's parameters: (N, P) in float64, for outputs of shape (N,).

    The tangent kernel is J(x) J(x')^T.
    """
    function, parameters = _function(model, x)
    rows = jacrev(function)(parameters)
    return torch.cat([row.flatten(1) for row in rows.values()], dim=1)


def minimum_norm_change(model: nn.Module, x: Tensor, y: Tensor) -> Change:
    """The least change of the parameters with which the linearised model interpolates.

        delta = argmin ||delta||_2   subject to   f(x) + J(x) delta = y,   delta = J^+ (y - f(x))

    It is where gradient descent on the linearised squared loss ends, from these parameters, with one step for all
    of them. Where no change interpolates, it is the least-squares solution of least norm. Shapes: x (N, …), y (N,);
    each parameter's change has its shape, in float64. The pseudo-inverse is taken of J itself: through the kernel
    J J^T the condition number would be squared.
    """
    function, parameters = _function(model, x)
    delta = torch.linalg.pinv(tangent_features(model, x)) @ (y.double() - function(parameters))
    sizes = [parameter.numel() for parameter in parameters.values()]
    parts = delta.split(sizes)
    return {name: part.view_as(parameters[name]) for name, part in zip(parameters, parts, strict=True)}


def linearised(model: nn.Module, x: Tensor, change: Mapping[str, Tensor]) -> Tensor:
    """f(x) + J(x) delta in float64, of shape (N,), without forming J(x)."""
    function, parameters = _function(model, x)
    value, directional = jvp(function, (parameters,), ({name: change[name] for name in parameters},))
    return value + directional


def _function(model: nn.Module, x: Tensor) -> tuple[Callable[[Change], Tensor], Change]:
    """theta -> f(x; theta) in float64, and the present theta."""

    def exact(tensor: Tensor) -> Tensor:
        return tensor.detach().double() if tensor.is_floating_point() else tensor

    parameters = {name: exact(p) for name, p in model.named_parameters() if p.requires_grad}
    fixed = {name: exact(t) for name, t in (*model.named_parameters(), *model.named_buffers())}
    inputs = exact(x)
    return lambda theta: functional_call(model, {**fixed, **theta}, (inputs,)), parameters

"""The linearisation of a network in its parameters, and what it interpolates in closed form."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vjp, vmap

Change = dict[str, Tensor]  # of each parameter, by its name


def tangent_features(model: nn.Module, x: Tensor) -> Tensor:
    """J(x) = d f(x) / d theta at the model's parameters: (N, P) in float64, for outputs of shape (N,).

    The tangent kernel is J(x) J(x')^T. A sample's row must not depend on the other samples.
    """
    function, parameters, x = _exactly(model, x)
    rows = vmap(grad(lambda theta, sample: function(theta, sample[None])[0]), (None, 0))(parameters, x)
    return torch.cat([row.flatten(1) for row in rows.values()], dim=1)


def minimum_norm_change(model: nn.Module, x: Tensor, y: Tensor) -> Change:
    """The least change of the parameters with which the linearised model interpolates.

        delta = argmin ||delta||_2   subject to   f(x) + J(x) delta = y,   delta = J^+ (y - f(x))

    It is where gradient descent on the linearised squared loss ends, from these parameters, with one step for all
    of them. Where no change interpolates, it is the least-squares solution of least norm. Shapes: x (N, …), y (N,);
    each parameter's change has its shape, in float64. The pseudo-inverse is taken of J itself: through the kernel
    J J^T the condition number would be squared.
    """
    function, parameters, inputs = _exactly(model, x)
    delta = torch.linalg.pinv(tangent_features(model, x)) @ (y.double() - function(parameters, inputs))
    parts = delta.split([parameter.numel() for parameter in parameters.values()])
    return {name: part.view_as(parameters[name]) for name, part in zip(parameters, parts, strict=True)}


def linearised(model: nn.Module, x: Tensor, change: Mapping[str, Tensor]) -> Tensor:
    """f(x) + J(x) delta in float64, of shape (N,), without forming J(x).

    J delta is the gradient of u -> (J^T u) . delta: reverse mode twice, which every layer of torch knows.
    """
    function, parameters, x = _exactly(model, x)
    value, pulled_back = vjp(lambda theta: function(theta, x), parameters)[:2]

    def along_change(u: Tensor) -> Tensor:
        return torch.stack([(part * change[name]).sum() for name, part in pulled_back(u)[0].items()]).sum()

    return value + grad(along_change)(torch.zeros_like(value))


def _exactly(model: nn.Module, x: Tensor) -> tuple[Callable[[Change, Tensor], Tensor], Change, Tensor]:
    """(theta, x) -> f(x; theta), the present theta of what is trained, and x, all in float64."""

    def exact(tensor: Tensor) -> Tensor:
        return tensor.detach().double() if tensor.is_floating_point() else tensor

    parameters = {name: exact(p) for name, p in model.named_parameters() if p.requires_grad}
    fixed = {name: exact(t) for name, t in (*model.named_parameters(), *model.named_buffers())}
    return lambda theta, inputs: functional_call(model, {**fixed, **theta}, (inputs,)), parameters, exact(x)

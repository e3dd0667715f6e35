"""The recurrence of a deep residual network in a narrow state, with its gradient written out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

#: sigma in place, and sigma' as a function of the value of sigma.
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "tanh": (torch.tanh_, lambda value: 1 - value.square()),
    "relu": (torch.relu_, lambda value: (value > 0).to(value)),
    "linear": (lambda value: value, torch.ones_like),
}


class Recurrence(torch.autograd.Function):
    """h_{k+1} = h_k + delta_k sigma(A_k h_k + b_k) for K networks at once.

        A (L, K, d, d),   b (L, K, 1, d),   delta (L, K, 1, 1),   x = h_0 (K, B, d)

    Returns all states, (L + 1, K, B, d), and the values of sigma, (L, K, B, d), through which no gradient goes.

    Of layers this small, an autograd graph costs several times what they compute. Backwards a layer takes three
    operations here, g_k = g_{k+1} + A_k^T p_k with p_k = delta_k sigma' g_{k+1}, and the gradients of all weights
    follow from g and p at once. Under torch.vmap the replicas join the K networks. There is no second derivative.
    """

    @staticmethod
    def forward(weight: Tensor, bias: Tensor, delta: Tensor, x: Tensor, activation: str) -> tuple[Tensor, Tensor]:
        activate = ACTIVATIONS[activation][0]
        states, values = [x], []
        for transposed, shift, step in zip(weight.mT.unbind(), bias.unbind(), delta.unbind(), strict=True):
            values.append(activate(torch.baddbmm(shift, states[-1], transposed)))
            states.append(torch.addcmul(states[-1], step, values[-1]))
        return torch.stack(states), torch.stack(values)

    @staticmethod
    def setup_context(ctx: Any, inputs: Sequence[Any], output: Sequence[Tensor]) -> None:
        weight, _, delta, _, ctx.activation = inputs
        ctx.save_for_backward(weight, delta, *output)
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        weight, delta, states, values = ctx.saved_tensors
        slopes = ACTIVATIONS[ctx.activation][1](values) * delta
        upstream, inner = gradients[0].clone(), torch.empty_like(values)
        g, p = upstream.unbind(), inner.unbind()
        for k, (slope, matrix) in reversed(list(enumerate(zip(slopes.unbind(), weight.unbind(), strict=True)))):
            torch.mul(slope, g[k + 1], out=p[k])
            g[k].baddbmm_(p[k], matrix).add_(g[k + 1])
        by_weight = torch.matmul(inner.mT, states[:-1])
        by_delta = (upstream[1:] * values).sum((2, 3), keepdim=True)
        return by_weight, inner.sum(2, keepdim=True), by_delta, upstream[0], None

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[int | None], *arguments: Any) -> tuple[tuple[Tensor, ...], tuple[int, int]]:
        """Replicas beside the K networks of each: one axis of all."""
        *tensors, activation = arguments
        along = (1, 1, 1, 0)  # the axis of the K networks
        joined = [_joined(*one, info.batch_size) for one in zip(tensors, in_dims, along, strict=False)]
        outputs = Recurrence.apply(*joined, activation)
        return tuple(output.unflatten(1, (info.batch_size, -1)) for output in outputs), (1, 1)


def _joined(tensor: Tensor, dim: int | None, axis: int, size: int) -> Tensor:
    """A tensor whose axis `dim` of replicas, or one that is made, is merged into another axis."""
    if dim is None:
        tensor, dim = tensor.expand(size, *tensor.shape), 0
    return tensor.movedim(dim, axis).flatten(axis, axis + 1)

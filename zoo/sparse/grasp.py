"""GraSP: the weights without which the gradient would flow less are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from zoo.sparse._masks import Masked, largest
from zoo.sparse._pruning import Pruning
from zoo.sparse._scoring import loss_gradients, no_step, twice_differentiable, undisturbed


class GraSP(Pruning):
    """Gradient signal preservation: pruning before training, by the Hessian times the gradient of the first batch.

    The gradient flow |g|^2, g = dL/dw, is the rate at which a small step along -g lowers the loss. To first order the
    perturbation that takes a weight away, -w_q, changes it by

        |g(w - w_q e_q)|^2 - |g(w)|^2 = -2 w_q (H g)_q = 2 S_q,   H = d^2 L / dw^2

    so that weights of a positive score S_q hinder the flow, and those of the most negative ones carry it: the
    round(density N) weights of the lowest S are kept, of all chosen layers together. g and H are of these layers alone.
    The loss is the model's own, in training mode, and both factors are of the same batch; statistics of batch norms,
    gradients and the random numbers to come are left as they were.

    Raises ValueError for a density outside (0, 1], for a loss without second derivatives and, before a training starts,
    for a model without a `step`, for layers that do not exist, and for weights that another method prunes already.

    Source: C. Wang, G. Zhang and R. Grosse, "Picking winning tickets before training by preserving gradient flow",
    ICLR 2020, arXiv:2002.07376. Deliberate differences: theirs draws samples of every class in equal number, and
    divides the logits by a temperature of 200 for the scores.
    """

    def __init__(self, density: float = 0.1, layers: Sequence[str] = ("*",)) -> None:
        super().__init__(density, layers)

    def refusal(self, model: nn.Module, data: pl.LightningDataModule) -> str:
        return _not_twice(model) or super().refusal(model, data) or no_step(model)

    def first(self, masked: Masked, module: Any, batch: Any) -> None:
        masked.set(self.chosen(masked, module, batch))

    def chosen(self, masked: Masked, module: Any, batch: Any) -> dict[str, Tensor]:
        """The masks of the lowest S."""
        scores = {name: -score for name, score in flow_changes(masked, module, batch).items()}
        return largest(scores, round(self.density * masked.size))


def _not_twice(model: nn.Module) -> str:
    if reason := getattr(model, "exceptions", {}).get("second derivatives"):
        return f"the loss of {type(model).__name__} has no second derivatives, which GraSP needs: {reason}"
    return ""


def flow_changes(masked: Masked, module: Any, batch: Any) -> dict[str, Tensor]:
    """S = -w H g of each weight: half of what its removal adds to |g|^2, to first order."""
    weights = masked.weights
    with undisturbed(module), twice_differentiable():
        gradients = loss_gradients(module, batch, weights, create_graph=True)
        flow = torch.stack([(g * g.detach()).sum() for g in gradients.values()]).sum()
        if not flow.requires_grad:
            raise ValueError(f"GraSP needs second derivatives, and the loss of {type(module).__name__} has none")
        products = torch.autograd.grad(flow, list(weights.values()), materialize_grads=True)
    return {
        name: -(weight * product).detach() for (name, weight), product in zip(weights.items(), products, strict=True)
    }

"""Steps for two players who train against each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class OptimisticAdam(torch.optim.Optimizer):
    """w <- w - lr (2 u_k - u_{k-1}), u_k = g_k / (v_k^(1/2) + 1e-8): Adam with beta_1 = 0 that foresees its next step.

    v_k is the mean of g^2 as in Adam; g is the gradient and `weight_decay` w. Two players who step at once run in
    circles around a saddle, or away from it: the difference of two steps damps this.

    Source: C. Daskalakis, A. Ilyas, V. Syrgkanis and H. Zeng, "Training GANs with optimism", ICLR 2018,
    arXiv:1711.00141.
    """

    def __init__(self, groups: Any, lr: float = 1e-3, beta_2: float = 0.99, weight_decay: float = 0.0) -> None:
        super().__init__(groups, {"lr": lr, "beta_2": beta_2, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    decayed = weight.grad + group["weight_decay"] * weight
                    self._move(weight, decayed, group["lr"], group["beta_2"])
        return loss

    def _move(self, weight: Tensor, gradient: Tensor, lr: float, beta_2: float) -> None:
        state = self.state[weight]
        if first := not state:
            state["square"], state["count"] = torch.zeros_like(weight), 0
        state["count"] += 1
        state["square"].lerp_(gradient.square(), 1 - beta_2)
        u = gradient / ((state["square"] / (1 - beta_2 ** state["count"])).sqrt() + 1e-8)
        weight.sub_(2 * u - (u if first else state["last"]), alpha=lr)
        state["last"] = u

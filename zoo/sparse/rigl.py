"""RigL: a sparse network whose connections move to where the gradient would have them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo._checks import at_least, fraction, one_of
from zoo.sparse._densities import DISTRIBUTIONS, layer_densities
from zoo.sparse._masks import Masked, random_each, rewired
from zoo.sparse._pruning import Pruning


class RigL(Pruning):
    """Trains a network that is sparse from the start, and moves its connections every `every` steps.

        f_t = alpha / 2 (1 + cos(pi t / T_end)),   T_end = end T

    is the share of each layer's connections that moves at step t, of T in all: the smallest |w| are dropped, and as
    many grow where the gradient of the loss for the dense weights is largest, |dL/dtheta|, the mean over all batches of
    the step. So each layer has as many connections at all times, placed at random at first. The density is shared by
    the layers as `distribution` says. New connections are zero, and so is what the optimiser keeps of them. With alpha
    0, none moves.

    Raises ValueError for a density or `end` outside (0, 1], alpha outside [0, 1], every below 1, an unknown
    distribution, a density that it cannot reach, layers that do not exist, and weights that another method prunes
    already.

    Source: U. Evci, T. Gale, J. Menick, P. S. Castro and E. Elsen, "Rigging the lottery: making all tickets winners",
    2020, arXiv:1911.11134. There, nothing else happens at a step that moves connections; here, the optimiser steps with
    that batch's gradient, too, and the new connections take their first step with it. As there, a dropped connection
    whose gradient is large grows again at once: it keeps its value then. Weights start as those of the dense network.
    """

    def __init__(
        self,
        density: float = 0.1,
        distribution: str = "erk",
        alpha: float = 0.3,
        every: int = 100,
        end: float = 0.75,
        layers: Sequence[str] = ("*",),
    ) -> None:
        super().__init__(density, layers)
        one_of(DISTRIBUTIONS, distribution=distribution)
        at_least(1, every=every)
        fraction(end=end)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must lie in [0, 1], a share of the connections, got {alpha}")
        self.distribution, self.alpha, self.every, self.end = distribution, alpha, every, end

    def share(self, step: int) -> float:
        """The share of the connections that moves at a step."""
        return self.alpha / 2 * (1 + math.cos(math.pi * step / (self.end * self.total)))

    def begin(self, masked: Masked) -> None:
        masked.set(random_each(masked, layer_densities(masked.shapes, self.density, self.distribution)))

    def due(self, step: int) -> bool:
        return 0 < step < self.end * self.total and step % self.every == 0

    def prepare(self, masked: Masked) -> None:
        for module in masked.modules.values():
            module.dense = True

    def update(self, masked: Masked, step: int) -> dict[str, Tensor]:
        share, masks = self.share(step), masked.masks
        return {
            name: rewired(weight, masks[name], share, _gradient(weight).abs())
            for name, weight in masked.weights.items()
        }


def _gradient(weight: Tensor) -> Tensor:
    """Zero for a weight that took no part in the loss."""
    return torch.zeros_like(weight) if weight.grad is None else weight.grad

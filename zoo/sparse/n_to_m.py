"""N:M sparsity: as many weights of every few neighbours, as hardware has it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo._checks import at_least
from zoo.sparse._masks import Masked, mask, maskable
from zoo.sparse._pruning import Pruning


class NToM(Pruning):
    """Keeps the n largest of every m consecutive weights by |w|, once, and trains on with them.

        groups of w.reshape(n_out, -1) along its rows: w[o, m g] … w[o, m g + m - 1],   density = n / m

    A row is what a unit receives: the n_in weights of a linear layer, the n_in k k weights of a kernel in the order of
    memory, as torch's semi-structured sparse tensors have it. Groups of the transposed convolutions' kernels, which are
    (n_in, n_out, …), lie along what a unit sends. Weights whose rows are no multiple of m are left as they are, and are
    not counted by the density.

    at: when, as a share of the training's steps: 0 prunes the fresh weights, 0.5 half-way.

    Raises ValueError for n below 1 or above m, `at` outside [0, 1), layers that do not exist or none of which has rows
    of a multiple of m, and weights that another method prunes already.

    Source: A. Mishra et al., "Accelerating sparse deep neural networks", 2021, arXiv:2104.08378, who train, prune 2:4
    by magnitude and train once more. Zhou et al., "Learning N:M fine-grained structured sparse neural networks from
    scratch", 2021, arXiv:2102.04010, choose anew at each step instead.
    """

    def __init__(self, n: int = 2, m: int = 4, at: float = 0.5, layers: Sequence[str] = ("*",)) -> None:
        at_least(1, n=n, m=m)
        if n > m:
            raise ValueError(f"n must be at most m, {m}, of which it is the number kept, got {n}")
        super().__init__(n / m, layers)
        if not 0 <= at < 1:
            raise ValueError(f"at must lie in [0, 1), a share of the training's steps, got {at}")
        self.n, self.m, self.at = n, m, at
        self.done = False

    @property
    def settled(self) -> bool:
        return self.done

    def install(self, model: nn.Module) -> Masked:
        rows = {name: getattr(*at)[0].numel() for name, at in maskable(model, self.layers).items()}
        if not (fitting := [name for name, length in rows.items() if length % self.m == 0]):
            found = ", ".join(f"{name} has rows of {length}" for name, length in rows.items())
            raise ValueError(
                f"{type(model).__name__} has no weights to mask by {self.n}:{self.m}, as no row is a multiple of "
                f"{self.m}: {found}"
            )
        return mask(model, fitting)

    def due(self, step: int) -> bool:
        self.done = step >= int(self.at * self.total)
        return step == int(self.at * self.total)

    def update(self, masked: Masked, step: int) -> dict[str, Tensor]:
        return {name: largest_in_groups(weight.detach(), self.n, self.m) for name, weight in masked.weights.items()}


def largest_in_groups(weight: Tensor, n: int, m: int) -> Tensor:
    """The mask of the n largest |w| of every m consecutive ones of a row; of equal ones any."""
    groups = weight.abs().reshape(-1, m)
    chosen = torch.zeros_like(groups, dtype=torch.bool).scatter_(1, groups.topk(n, dim=1).indices, True)
    return chosen.view_as(weight)

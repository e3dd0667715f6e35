"""Magnitude pruning: the smallest weights are dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from zoo._checks import one_of
from zoo.sparse._densities import DISTRIBUTIONS, layer_densities
from zoo.sparse._masks import Masked, largest, largest_each
from zoo.sparse._pruning import Pruning

SCOPES = ("global", *DISTRIBUTIONS)


class Magnitude(Pruning):
    """Drops all but the largest weights by |w|, once, and trains on with the others.

        keep the round(density N) largest |w| of all N weights

    together (scope "global"), or in each layer by itself, at densities that are the same everywhere ("uniform") or
    follow another distribution over the layers ("er", "erk", "uniform+", "erk+").

    at: when, as a share of the training's steps: 0 prunes the fresh weights, 0.5 half-way.

    Raises ValueError for a density outside (0, 1], an unknown scope, `at` outside [0, 1), a density that the scope
    cannot reach, layers that do not exist, and weights that another method prunes already.

    Source: S. Han, J. Pool, J. Tran and W. Dally, "Learning both weights and connections for efficient neural
    networks", NeurIPS 2015, arXiv:1506.02626, which chooses a threshold by layer and repeats the two steps.
    """

    def __init__(
        self, density: float = 0.1, scope: str = "global", at: float = 0.5, layers: Sequence[str] = ("*",)
    ) -> None:
        super().__init__(density, layers)
        one_of(SCOPES, scope=scope)
        if not 0 <= at < 1:
            raise ValueError(f"at must lie in [0, 1), a share of the training's steps, got {at}")
        self.scope, self.at = scope, at
        self.done = False

    @property
    def settled(self) -> bool:
        return self.done

    def begin(self, masked: Masked) -> None:
        if self.scope != "global":
            layer_densities(masked.shapes, self.density, self.scope)  # whether it can be reached is known here

    def due(self, step: int) -> bool:
        self.done = step >= int(self.at * self.total)
        return step == int(self.at * self.total)

    def update(self, masked: Masked, step: int) -> dict[str, Tensor]:
        return by_magnitude(masked.weights, masked.masks, self.density, self.scope)


def by_magnitude(
    weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], density: float, scope: str
) -> dict[str, Tensor]:
    """Masks of the largest weights, of all layers together or of each at its own density; the dropped come last."""
    scores = {name: weight.detach().abs().masked_fill(~masks[name], -1) for name, weight in weights.items()}
    if scope == "global":
        return largest(scores, round(density * sum(score.numel() for score in scores.values())))
    return largest_each(scores, layer_densities({n: s.shape for n, s in scores.items()}, density, scope))

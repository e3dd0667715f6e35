"""Gradual magnitude pruning: the smallest weights are dropped a few at a time."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from zoo._checks import at_least, fraction, one_of
from zoo.sparse._densities import layer_densities
from zoo.sparse._masks import Masked
from zoo.sparse._pruning import Pruning
from zoo.sparse.magnitude import SCOPES, by_magnitude


class GradualMagnitude(Pruning):
    """Drops the smallest weights by |w| while it trains, many at first and few in the end.

        s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (t_1 - t_0))^3

    is the share of the weights that is gone at step t: s_i = 1 - initial at t_0 = begin T, s_f = 1 - density from
    t_1 = end T on, for a training of T steps. Masks change every `every` steps between, and at t_1. The smallest
    weights are chosen in all layers together (scope "global") or in each by itself, as in Magnitude; a weight that is
    gone does not return.

    Raises ValueError for a density outside (0, 1], an initial one outside [density, 1], shares that are not
    0 <= begin < end < 1, every below 1, an unknown scope, a density that the scope cannot reach, layers that do not
    exist, and weights that another method prunes already.

    Source: M. Zhu and S. Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression",
    2017, arXiv:1710.01878, with t_1 - t_0 in place of n dt: there it is a multiple of the steps between two changes,
    here it need not be, and the last change comes at t_1. They choose in each layer by itself (scope "uniform").
    """

    def __init__(
        self,
        density: float = 0.1,
        initial: float = 1.0,
        begin: float = 0.0,
        end: float = 0.5,
        every: int = 100,
        scope: str = "global",
        layers: Sequence[str] = ("*",),
    ) -> None:
        super().__init__(density, layers)
        fraction(initial=initial)
        at_least(1, every=every)
        one_of(SCOPES, scope=scope)
        if initial < density:
            raise ValueError(f"initial must be at least the density that is left in the end, {density}, got {initial}")
        if not 0 <= begin < end < 1:
            raise ValueError(
                f"begin and end must be shares of the training with 0 <= begin < end < 1, got {begin} and {end}"
            )
        self.initial, self.every, self.scope = initial, every, scope
        self.shares = (begin, end)
        self.step = 0

    @property
    def span(self) -> tuple[int, int]:
        """The steps t_0 and t_1."""
        first, last = (int(share * self.total) for share in self.shares)
        return first, last

    @property
    def settled(self) -> bool:
        return self.step >= self.span[1]

    def begin(self, masked: Masked) -> None:
        if self.scope != "global":
            layer_densities(masked.shapes, self.density, self.scope)  # whether it can be reached is known here

    def due(self, step: int) -> bool:
        self.step = step
        first, last = self.span
        return step == last or (first <= step < last and (step - first) % self.every == 0)

    def update(self, masked: Masked, step: int) -> dict[str, Tensor]:
        first, last = self.span
        progress = (step - first) / (last - first) if last > first else 1.0
        density = 1 - cubic(progress, 1 - self.initial, 1 - self.density) if progress < 1 else self.density
        return by_magnitude(masked.weights, masked.masks, density, self.scope)


def cubic(progress: float, initial: float, final: float) -> float:
    """The sparsity when a share of the pruning's time is over."""
    return final + (initial - final) * (1 - progress) ** 3

"""Sparse evolutionary training: a sparse network whose weakest connections move at random."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo._checks import at_least, fraction, one_of
from zoo.sparse._densities import DISTRIBUTIONS, layer_densities
from zoo.sparse._masks import Masked, random_each, rewired
from zoo.sparse._pruning import Pruning


class SET(Pruning):
    """Trains a network that is sparse from the start, and every `every` steps moves its weakest connections elsewhere.

        drop the int(zeta nnz) smallest |w| of each layer, and let as many grow at random where there are none

    So each layer has as many connections at all times, placed at random at first. The density is shared by the layers
    as `distribution` says: Erdős–Rényi, eps (n_in + n_out) / (n_in n_out), for "er". New connections are zero, and so
    is what the optimiser keeps of them. None move in the last `every` steps, which train what the last change left.

    Raises ValueError for a density or zeta outside (0, 1], every below 1, an unknown distribution, a density that it
    cannot reach, layers that do not exist, and weights that another method prunes already.

    Source: D. C. Mocanu, E. Mocanu, P. Stone, P. H. Nguyen, M. Gibescu and A. Liotta, "Scalable training of artificial
    neural networks with adaptive sparse connectivity inspired by network science", Nature Communications 9, 2018,
    arXiv:1707.04780. There, connections move at the end of each epoch, the shares of positive and of negative weights
    that are dropped are equal, and new ones start at random values; here, the step's own batch follows, and the dropped
    places are among those where one may grow: a connection that grows again at once keeps its value.
    """

    def __init__(
        self,
        density: float = 0.1,
        distribution: str = "er",
        zeta: float = 0.3,
        every: int = 100,
        layers: Sequence[str] = ("*",),
    ) -> None:
        super().__init__(density, layers)
        one_of(DISTRIBUTIONS, distribution=distribution)
        at_least(1, every=every)
        fraction(zeta=zeta)
        self.distribution, self.zeta, self.every = distribution, zeta, every

    def begin(self, masked: Masked) -> None:
        masked.set(random_each(masked, layer_densities(masked.shapes, self.density, self.distribution)))

    def due(self, step: int) -> bool:
        return 0 < step <= self.total - self.every and step % self.every == 0

    def update(self, masked: Masked, step: int) -> dict[str, Tensor]:
        masks = masked.masks
        return {
            name: rewired(weight, masks[name], self.zeta, torch.rand_like(weight))
            for name, weight in masked.weights.items()
        }

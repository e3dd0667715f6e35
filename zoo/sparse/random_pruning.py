"""Random pruning before training: only how many weights each layer keeps is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
from torch import nn

from zoo._checks import one_of
from zoo.sparse._densities import DISTRIBUTIONS, layer_densities
from zoo.sparse._masks import Masked, random_each
from zoo.sparse._pruning import Pruning
from zoo.sparse.grasp import GraSP
from zoo.sparse.snip import SNIP

#: Methods of which only the layers' densities are used.
RATIOS: dict[str, type[SNIP | GraSP]] = {"snip": SNIP, "grasp": GraSP}


class RandomPruning(Pruning):
    """Drops weights at random before training, and never changes which.

    Layer l keeps round(d_l N_l) of its N_l weights, every set of that size with the same probability. The densities d_l
    are the same everywhere ("uniform"), follow the layer's shape ("er", "erk"), keep layers at the ends denser
    ("uniform+", "erk+"), or are those that another method would leave on the first batch ("snip", "grasp").

    Raises ValueError for a density outside (0, 1], an unknown distribution, a density that it cannot reach and, before
    a training starts, for layers that do not exist, weights that another method prunes already, and what the method
    refuses whose densities are taken.

    Source: S. Liu et al., "The unreasonable effectiveness of random pruning: return of the most naive baseline for
    sparse training", ICLR 2022, arXiv:2202.02643. Deliberate differences: exact numbers in place of a coin for each
    weight; "uniform+" has the density asked for in total, where theirs spreads what the first layer and the last do
    not take over all weights, and is a little sparser.
    """

    def __init__(self, density: float = 0.1, distribution: str = "erk", layers: Sequence[str] = ("*",)) -> None:
        super().__init__(density, layers)
        one_of((*DISTRIBUTIONS, *RATIOS), distribution=distribution)
        self.distribution = distribution
        self.method = RATIOS[distribution](density, layers) if distribution in RATIOS else None

    def refusal(self, model: nn.Module, data: pl.LightningDataModule) -> str:
        return self.method.refusal(model, data) if self.method else super().refusal(model, data)

    def begin(self, masked: Masked) -> None:
        if not self.method:
            masked.set(random_each(masked, layer_densities(masked.shapes, self.density, self.distribution)))

    def first(self, masked: Masked, module: Any, batch: Any) -> None:
        if self.method:
            theirs = self.method.chosen(masked, module, batch)
            masked.set(random_each(masked, {name: int(m.sum()) / m.numel() for name, m in theirs.items()}))

"""One model, trained by itself: what a step of the harness costs more than one of a plain loop."""

from __future__ import annotations

from functools import partial

from benchmarks.pairs import Pair
from benchmarks.pairs.stack import Sizes, sides

PAIRS = (
    Pair(
        "step/unstacked",
        "one TwoLayerReLU(64) by itself, beside a plain loop without data cost",
        0.6,
        partial(sides, sizes=Sizes(64, 10, 64), seeds=1, steps=1000, stacked=False),
        unit="+ms",
    ),
)

"""Pairs of programs that do equal work, ours and a plain one: a file a subject, found by reading this folder.

A file here defines `PAIRS`; adding one edits no list. Files with a leading underscore are what the pairs share. A
pair's file imports torch inside its functions only, so that listing the pairs answers at once.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Work:
    """What one side did in one turn.

    cost: seconds, or bytes where the pair compares memory, of the units alone; set-up is left out.
    units: what the cost is for: steps, steps of all seeds, Runs.
    samples: how many samples these units have seen.
    start_up: seconds from the call to the first unit, where they are worth knowing.
    loss: of the final weights on held-out samples, where both sides see the same batches.
    """

    cost: float
    units: int
    samples: int
    start_up: float | None = None
    loss: float | None = None

    @property
    def each(self) -> float:
        return self.cost / self.units


Side = Callable[[], Work]


@dataclass(frozen=True)
class Place:
    """Where a pair is measured: "cpu" or "cuda", and a folder for what the sides write, removed afterwards."""

    device: str
    folder: Path


@dataclass(frozen=True)
class Pair:
    """Two programs, and what the first may cost beside the second.

    what: one line. build: makes both sides; each call of a side is one turn, with fresh weights. It raises NotHere or
    DataMissing where the machine lacks something.
    unit: "ratio" for ours / theirs, "+ms" for the difference of one unit in milliseconds, "s" for our unit in seconds
    with nothing beside it.
    per: what a unit is. quantity: what a cost is.
    """

    name: str
    what: str
    at_most: float
    build: Callable[[Place], tuple[Side, Side | None]]
    unit: Literal["ratio", "+ms", "s"] = "ratio"
    per: str = "step"
    quantity: Literal["seconds", "bytes"] = "seconds"
    devices: tuple[str, ...] = ("cpu",)

    def value(self, ours: Work, theirs: Work | None) -> float:
        """What one turn says, in the pair's unit."""
        if theirs is None:
            return ours.each
        return ours.each / theirs.each if self.unit == "ratio" else 1e3 * (ours.each - theirs.each)


@cache
def discover() -> Mapping[str, Pair]:
    """Every pair by its name. Raises ValueError for a name that stands twice, and for a file without pairs."""
    found: dict[str, Pair] = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        pairs = getattr(importlib.import_module(f"{__name__}.{path.stem}"), "PAIRS", None)
        if not pairs:
            raise ValueError(f"{path} defines no PAIRS: a tuple of Pair, or begin its name with an underscore")
        for pair in pairs:
            if pair.name in found:
                raise ValueError(f"{path}: a second pair of the name {pair.name!r}")
            found[pair.name] = pair
    return found

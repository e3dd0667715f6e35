"""Measuring a pair in turn: one warm-up of each side, then ours, theirs, ours, theirs, …"""

from __future__ import annotations

import gc
import logging
import statistics
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from benchmarks.pairs import Pair, Place, Side, Work
from benchmarks.resolve import NotHere
from datamodules import DataMissing

Turn = tuple[Work, Work | None]


def measure(pair: Pair, device: str, repeats: int, threads: int) -> dict[str, Any]:
    """The pair's row: the median of the paired values with their quartiles, or why it could not be run."""
    row: dict[str, Any] = {"pair": pair.name, "what": pair.what, "device": device, "unit": pair.unit, "per": pair.per}
    row |= {"quantity": pair.quantity, "at_most": pair.at_most, "threads": threads, "repeats": repeats}
    try:
        with _quiet(), _threads(threads), tempfile.TemporaryDirectory() as folder:
            turns = in_turn(*pair.build(Place(device, Path(folder))), repeats)
    except (NotHere, DataMissing) as error:
        nothing = dict.fromkeys(("ratio", "low", "high", "ours", "theirs", "start_up", "met"))
        return row | nothing | {"reason": " ".join(str(error).split())}
    return row | summary(pair, turns) | {"reason": ""}


def in_turn(ours: Side, theirs: Side | None, repeats: int) -> list[Turn]:
    """Warms both sides up, then gives them turn and turn about, so that what disturbs one disturbs the other."""
    sides = [ours, theirs] if theirs else [ours]
    for side in sides:
        side()
    turns: list[Turn] = []
    for _ in range(repeats):
        done = [_taken(side) for side in sides]
        turns.append((done[0], done[1] if theirs else None))
        first, second = turns[-1]
        equal = second is None or (first.units, first.samples) == (second.units, second.samples)
        assert equal, f"the sides do unequal work: {first} and {second}"
    return turns


def _taken(side: Side) -> Work:
    gc.collect()  # what the turn before left is not collected within this one
    return side()


def summary(pair: Pair, turns: Sequence[Turn]) -> dict[str, Any]:
    """Median and quartiles of the paired values; medians of the costs of a unit and of our start-up."""
    values = [pair.value(*turn) for turn in turns]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    ours, theirs = [first for first, _ in turns], [second for _, second in turns if second]
    start_up = [work.start_up for work in ours if work.start_up is not None]
    return {
        "ratio": middle,
        "low": low,
        "high": high,
        "ours": statistics.median(work.each for work in ours),
        "theirs": statistics.median(work.each for work in theirs) if theirs else None,
        "start_up": statistics.median(start_up) if start_up else None,
        "met": middle <= pair.at_most,
    }


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what Lightning tells of its trainers away: a table or a JSON document is the only output."""
    loud = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning")]
    before = [logger.level for logger in loud]
    try:
        for logger in loud:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loud, before, strict=True):
            logger.setLevel(level)

"""Runs in worker processes, as a suite launches them: what each costs beside its training, and what two at once gain.

W&B logs offline, as it does by default.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from benchmarks.pairs import Pair, Place, Side, Work

RUNS = 4
BATCH = 64


def run(seed: int, steps: int) -> Any:
    """A Run of a small residual network on the digits: a model that is not stacked, data that need no download."""
    from benchmarks.pairs._harness import config, seeded
    from benchmarks.plan import Run

    made = config(
        "datamodules.Digits",
        "zoo.residual.ResNet2d",
        arguments={"in_channels": 1, "num_classes": 10, "widths": [8, 16]},
        data_arguments={"batch_size": BATCH},
        max_steps=steps,
    )
    return Run(f"seed{seed}", "speed/launch", "resnet", seed, {}, seeded(made, seed))


def suite(place: Place, workers: int, steps: int) -> tuple[float, list[tuple[float, str]]]:
    """The wall time of a suite of equal Runs, and what its launcher told: when and what."""
    import torch

    from benchmarks.build import class_at, class_paths
    from benchmarks.execute import Options
    from benchmarks.launch import LocalLauncher

    runs = [run(seed, steps) for seed in range(RUNS)]
    classes = [class_at(path) for path in class_paths(runs[0].config)]
    libraries = [c.__module__ for c in classes] + [name for c in classes for name in getattr(c, "libraries", ())]
    told: list[tuple[float, str]] = []
    options = Options(Path(mkdtemp(dir=place.folder)), threads=torch.get_num_threads())
    launcher = LocalLauncher(options, workers, libraries, lambda run, kind, _: told.append((time.perf_counter(), kind)))
    start = time.perf_counter()
    results = launcher.launch(runs)
    wall = time.perf_counter() - start
    if failed := [result.error for result in results if result.status != "finished"]:
        raise RuntimeError(f"a Run of the suite failed: {failed[0]}")
    return wall, told


def before_first_steps(told: list[tuple[float, str]]) -> Iterator[float]:
    """Seconds from the end of each Run to the first step of the next, one worker taking one Run after the other."""
    ended: float | None = None
    for at, kind in told:
        if kind == "end":
            ended = at
        elif kind == "step" and ended is not None:
            yield at - ended
            ended = None


def fixed_cost(place: Place) -> tuple[Side, None]:
    """A Run's start in a suite that is under way: process, data, model, trainer, logging, first step."""

    def ours() -> Work:
        _, told = suite(place, workers=1, steps=1)
        return Work(statistics.median(before_first_steps(told)), 1, BATCH)

    return ours, None


def two_workers(place: Place, steps: int = 300) -> tuple[Side, Side]:
    """The same suite with two workers and with one."""
    from benchmarks.launch import cores
    from benchmarks.resolve import NotHere

    if cores() < 2:
        raise NotHere("needs two processor cores")

    def side(workers: int) -> Work:
        wall, _ = suite(place, workers, steps)
        return Work(wall, RUNS, RUNS * steps * BATCH)

    return lambda: side(2), lambda: side(1)


PAIRS = (
    Pair(
        "launch/fixed_cost",
        "from a Run's start to its first step, after the first Run of a suite",
        1.0,
        fixed_cost,
        unit="s",
        per="Run",
    ),
    Pair(
        "launch/two_workers",
        f"{RUNS} equal Runs of a small ResNet2d in two workers, beside the same Runs in one",
        0.6,
        two_workers,
        per="Run",
    ),
)

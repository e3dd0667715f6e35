"""What a Run on the processes of torchrun or srun has to be: the only one, with a device for each of them."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.problems import BadInput, Problem
from benchmarks.ranks import Place, world_size

if TYPE_CHECKING:
    from benchmarks.plan import Plan
    from benchmarks.schema import Benchmark


def filled(benchmarks: Sequence[tuple[Benchmark, bool]], place: Place) -> list[tuple[Benchmark, bool]]:
    """The benchmarks with `trainer.devices` set to the number of processes, where they leave it out."""
    return [(_filled(benchmark, place.world), exact) for benchmark, exact in benchmarks]


def _filled(benchmark: Benchmark, world: int) -> Benchmark:
    models = {
        label: {**settings, "trainer": {"devices": world, **settings["trainer"]}}
        for label, settings in benchmark.models.items()
    }
    left_out = any("devices" not in settings["trainer"] for settings in benchmark.models.values())
    changed = (*benchmark.changed, *([f"trainer.devices={world}"] if left_out else []))
    return dataclasses.replace(benchmark, models=models, changed=changed)


def places(options: argparse.Namespace, place: Place) -> tuple[str, int]:
    """The accelerator, and the processes of a node. Raises BadInput where these have not a GPU each."""
    import torch

    count, gpus = place.local_world, torch.cuda.device_count()
    if options.devices not in ("auto", str(count)):
        message = f"expected auto or {count}, the processes that were started on this node, got {options.devices!r}"
        raise BadInput([Problem("command line", "--devices", message)])
    if gpus and gpus < count:
        message = (
            f"{count} processes of this node see {gpus} GPU{'s' * (gpus > 1)}: start one for each GPU and let each see "
            "all of them (srun: --gpus-per-node, not --gpus-per-task), or set CUDA_VISIBLE_DEVICES= to use processors"
        )
        raise BadInput([Problem("launcher", "GPUs", message)])
    return ("gpu" if gpus else "cpu"), count


def require_only(planned: Plan, root: Path, place: Place) -> None:
    """Raises BadInput where the plan has not exactly one Run, or that cannot execute on these processes."""
    from benchmarks import store

    if len(planned.runs) != 1:
        names = [f"{run.benchmark}/{run.model} seed {run.seed}" for run in planned.runs[:3]]
        more = ", …" * (len(planned.runs) > 3)
        message = (
            f"{place.world} processes execute one Run together, and the plan has {len(planned.runs)}"
            f"{': ' if names else ''}{', '.join(names)}{more}; choose one: name one benchmark, with --seeds 1, and "
            "for one of several models or points of a sweep a YAML of your own that has no other"
        )
        raise BadInput([Problem("launcher", "", message)])
    run = planned.runs[0]
    entry = f"models.{run.model}: trainer.devices"
    files = {benchmark.name: benchmark.file for benchmark in planned.benchmarks}
    problems = []
    if (devices := world_size(run.config)) != place.world:
        message = f"{devices} devices, and {place.world} processes were started: leave it out, or start {devices}"
        problems.append(Problem(files[run.benchmark], entry, message))
    for other in run.needs:
        if store.finished(root / other.folder) is None:
            name = f"{other.benchmark}/{other.model} seed {other.seed}"
            message = f"needs {name}, which has no Result in {root} yet: run that first"
            problems.append(Problem(files[run.benchmark], f"models.{run.model}", message))
    if problems:
        raise BadInput(problems)

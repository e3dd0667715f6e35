"""Which Runs train together as one stack."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.build import class_at
from benchmarks.ranks import world_size
from benchmarks.watching import watches
from datamodules._stacked import joins
from zoo._recipes import ELEMENTWISE

if TYPE_CHECKING:
    from benchmarks.plan import Run

MOST = 64  # replicas of one stack: beyond, a step's fixed cost is shared already, and memory grows
SNAPSHOT = "resume.ckpt"
MARK = "stack.json"  # beside a stack's snapshot: the folders of its Runs
#: Trainer arguments that mean for each replica what they mean for one model.
TRAINER = (
    *("max_steps", "max_epochs", "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm"),
    *("limit_train_batches", "limit_val_batches", "limit_test_batches", "val_check_interval"),
    *("check_val_every_n_epoch", "log_every_n_steps", "precision", "deterministic", "benchmark", "devices"),
)
PRECISIONS = (None, 32, 64, "32", "64", "32-true", "64-true", "bf16-mixed", "bf16-true")  # none that scales the loss


def stackable(config: Mapping[str, Any]) -> bool:
    """Whether a Run of this configuration trains in a stack: it always does then, and never otherwise.

    The model has to declare `vectorizes`; the data have to come by `loader` without further hooks, the optimiser has to
    be element-wise, the schedule by steps or epochs alone, and the callbacks have to look only.
    """
    if not (config["fit"] and class_at(config["model"]["class_path"]).vectorizes):
        return False
    schedule = config.get("lr_scheduler", {"class_path": ""})
    optimizer = config.get("optimizer")
    nested = any(isinstance(value, dict) and "from" in value for value in config["model"]["init_args"].values())
    return (
        not nested
        and joins(class_at(config["data"]["class_path"]))
        and set(config["trainer"]) <= set(TRAINER)
        and world_size(config) == 1
        and config["trainer"].get("precision") in PRECISIONS
        and (optimizer is None or class_at(optimizer["class_path"]) in ELEMENTWISE)
        and "monitor" not in schedule
        and not schedule["class_path"].endswith("ReduceLROnPlateau")
        and all(watches(class_at(callback["class_path"])) for callback in config["callbacks"])
    )


def grouped(runs: Sequence[Run], known: Iterable[Run], results: Path, workers: int) -> list[tuple[Run, ...]]:
    """The Runs in the groups that train together, in the order of their first members.

    A stack that was interrupted stays what it was, with its members among the known Runs; others are made of all that
    differ in seeds and initial values alone, and split where a worker would have nothing to do.
    """
    whole = interrupted(runs, known, results)
    taken = {run.folder for group in whole for run in group}
    fresh: dict[str, list[Run]] = {}
    for run in runs:
        if run.folder not in taken:
            fresh.setdefault(_shape(run) if run.stacked else str(run.folder), []).append(run)
    groups = [tuple(some) for same in fresh.values() for some in _parts(same, -(-len(same) // MOST))]
    while (
        len(groups) + len(whole) < workers
        and len(largest := max(groups, key=len, default=())) >= 4
        and largest[0].stacked
    ):
        groups.remove(largest)
        groups += [tuple(part) for part in _parts(largest, 2)]
    place = {run.folder: number for number, run in enumerate(runs)}
    return sorted(whole + groups, key=lambda group: min(place[run.folder] for run in group if run.folder in place))


def interrupted(runs: Iterable[Run], known: Iterable[Run], results: Path) -> list[tuple[Run, ...]]:
    """The stacks that were interrupted, whose members are all known and some of them among the Runs to make.

    Of two that share a member only one goes on. What is left of a stack is removed once its members are all finished.
    """
    waiting, named = {str(run.folder) for run in runs}, {str(run.folder): run for run in known if run.stacked}
    groups: list[tuple[Run, ...]] = []
    claimed: set[str] = set()
    for folder in sorted(found for name in {r.benchmark for r in named.values()} for found in _stacks(results / name)):
        members = marked(folder)
        if not members or not named.keys() >= set(members):
            continue
        if waiting.isdisjoint(members):
            shutil.rmtree(folder, ignore_errors=True)
        elif resumable(folder) and claimed.isdisjoint(members):
            claimed |= set(members)
            groups.append(tuple(named[member] for member in members))
    return groups


def _stacks(folder: Path) -> list[Path]:
    return [mark.parent for mark in folder.glob(f".stacks/*/{MARK}")]


def marked(folder: Path) -> list[str]:
    """The members of the stack that keeps its snapshot here; none where it has just ended."""
    try:
        members: list[str] = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return members


def resumable(folder: Path) -> bool:
    """Whether a stack was interrupted that kept a snapshot: without one, nothing binds its members together."""
    return (folder / MARK).is_file() and (folder / SNAPSHOT).is_file()


def stack_folder(runs: Sequence[Run], results: Path) -> Path:
    """Where a stack keeps its snapshot: one place for the same Runs in the same order."""
    names = "\n".join(str(run.folder) for run in runs)
    return results / runs[0].benchmark / ".stacks" / hashlib.sha256(names.encode()).hexdigest()[:12]


def _shape(run: Run) -> str:
    """What Runs of one stack have in common: everything but the seeds and what chooses initial values alone."""
    config = copy.deepcopy(dict(run.config))
    config["data"]["init_args"].pop("seed", None)
    for name in class_at(config["model"]["class_path"]).initial:
        config["model"]["init_args"].pop(name, None)
    return json.dumps([run.benchmark, run.threads, run.time_limit, config], sort_keys=True, default=str)


def _parts(runs: Sequence[Run], count: int) -> list[Sequence[Run]]:
    """Parts of nearly equal size."""
    return [runs[len(runs) * n // count : len(runs) * (n + 1) // count] for n in range(count)]

"""The processes that execute one Run together: which of them this one is, and whether another launcher started it.

Imports neither torch nor Lightning, so that the command line can ask before it loads anything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.problems import BadInput, Problem
from benchmarks.store import Result

if TYPE_CHECKING:
    from benchmarks.plan import Plan

#: Trainer settings that say on what a Run executes.
PLACING = ("devices", "strategy")
#: Strategies whose processes a launcher can start; `auto` chooses among the other two.
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true")


@dataclass(frozen=True)
class Place:
    """One of the processes of a Run: rank of world, and local rank among those of its node."""

    rank: int
    world: int
    local_rank: int
    local_world: int
    node: int = 0
    address: str = "127.0.0.1"
    port: int = 0
    identity: str = "paperzoo"
    hosted: bool = False  # somebody other than rank 0 serves the rendezvous
    gpus: tuple[int, ...] = ()  # of this node, in the order of the local ranks

    @property
    def nodes(self) -> int:
        return self.world // self.local_world

    @property
    def devices(self) -> int | list[int]:
        """As Lightning's Trainer takes them."""
        return list(self.gpus) or self.local_world

    @property
    def log(self) -> str:
        """The name of this process's log in the Run's folder."""
        return f"log.rank{self.rank}.txt" if self.rank else "log.txt"

    def enter(self, threads: int) -> None:
        """Says it to the libraries in torchrun's words; Lightning takes threads from there, too."""
        os.environ |= {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.world),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_world),
            "GROUP_RANK": str(self.node),
            "GROUP_WORLD_SIZE": str(self.nodes),
            "ROLE_RANK": str(self.rank),
            "ROLE_WORLD_SIZE": str(self.world),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
            "TORCHELASTIC_RUN_ID": self.identity,
            "TORCHELASTIC_RESTART_COUNT": os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"),
            "TORCHELASTIC_USE_AGENT_STORE": str(self.hosted),
            "OMP_NUM_THREADS": str(threads),
        }


def world_size(config: Mapping[str, Any]) -> int:
    """How many processes a Run of this configuration takes."""
    return int(config["trainer"].get("devices", 1))


def make_room(planned: Plan, exact: Collection[str], accelerator: str, count: int) -> None:
    """Sees to it that each Run has as many devices as it takes.

    Raises BadInput where one of a benchmark that was named exactly has not; others are listed as absent.
    """
    files = {benchmark.name: benchmark.file for benchmark in planned.benchmarks}
    kind = "GPU" if accelerator == "gpu" else "CPU worker"
    problems, fitting = [], []
    for run in planned.runs:
        most = max(world_size(one.config) for one in (run, *run.needs))
        message = f"a Run takes {most} devices at once, and there {'is' if count == 1 else 'are'} {count} {kind}"
        message += f"{'s' * (count > 1)}: raise --devices if the machine has more, or set trainer.devices to {count}"
        if most <= count:
            fitting.append(run)
        elif run.benchmark in exact:
            problems.append(Problem(files[run.benchmark], f"models.{run.model}: trainer.devices", message))
        else:
            planned.absent.append(Result("", run.benchmark, run.model, run.seed, status="not run", error=message))
    if problems:
        raise BadInput(problems)
    planned.runs = fitting


def wrong_settings(trainer: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with the settings of a trainer that place it, by key."""
    wrong = {}
    devices, strategy = trainer.get("devices", 1), trainer.get("strategy", "auto")
    if not isinstance(devices, int) or isinstance(devices, bool) or devices < 1:
        wrong["devices"] = (
            "expected a whole number of at least 1, the processes of one Run with a device each, "
            f"got {devices!r} ({type(devices).__name__})"
        )
    if strategy not in STRATEGIES:
        wrong["strategy"] = (
            f"expected one of {', '.join(STRATEGIES)} (the launcher starts the processes itself, "
            f"each with the whole model), got {strategy!r}"
        )
    return wrong


def outer(environment: Mapping[str, str] = os.environ) -> Place | None:
    """This process's place if torchrun or srun started several of this command; none otherwise.

    A launcher that started only one leaves everything to the command. Raises BadInput where the processes are
    distributed over their nodes in a way that no Run can use.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        return _torchrun(environment)
    return _srun(environment) if "SLURM_PROCID" in environment else None


def first(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is the one that speaks; also one that nobody else belongs to."""
    return environment.get("RANK" if "TORCHELASTIC_RUN_ID" in environment else "SLURM_PROCID", "0") == "0"


def _torchrun(environment: Mapping[str, str]) -> Place | None:
    def number(name: str, default: int = 0) -> int:
        return int(environment.get(name, default))

    world = number("WORLD_SIZE", 1)
    if world == 1:
        return None
    local_world = number("LOCAL_WORLD_SIZE", world)
    _require_even(world, [local_world], f"LOCAL_WORLD_SIZE={local_world}, WORLD_SIZE={world}")
    return Place(
        number("RANK"),
        world,
        number("LOCAL_RANK"),
        local_world,
        number("GROUP_RANK"),
        environment["MASTER_ADDR"],
        number("MASTER_PORT"),
        environment["TORCHELASTIC_RUN_ID"],
        environment.get("TORCHELASTIC_USE_AGENT_STORE") == str(True),
    )


def _srun(environment: Mapping[str, str]) -> Place | None:
    """Of the step, not of the job: a batch script has the job's variables too, and is one process."""
    world = int(environment.get("SLURM_STEP_NUM_TASKS", 1))
    if world == 1:
        return None
    told = environment.get("SLURM_STEP_TASKS_PER_NODE") or environment.get("SLURM_TASKS_PER_NODE") or str(world)
    counts = _tasks_per_node(told)
    _require_even(world, counts, f"SLURM_STEP_TASKS_PER_NODE={told}")
    job, step = (int(environment.get(name, 0)) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_NODELIST", "")
    return Place(
        int(environment["SLURM_PROCID"]),
        world,
        int(environment["SLURM_LOCALID"]),
        counts[0],
        int(environment.get("SLURM_NODEID", 0)),
        environment.get("MASTER_ADDR") or ("127.0.0.1" if len(counts) == 1 else _first_node(nodes)),
        # the same in all processes, another in the job's other steps, and below those that systems give away
        int(environment.get("MASTER_PORT") or 12000 + (1009 * job + step) % 20000),
        f"slurm-{job}-{step}",
    )


def _tasks_per_node(told: str) -> list[int]:
    """Slurm's short form, `2(x3),1`, as a list: [2, 2, 2, 1]."""
    found = re.findall(r"(\d+)(?:\(x(\d+)\))?", told)
    return [int(count) for count, times in found for _ in range(int(times or 1))]


def _first_node(nodes: str) -> str:
    """The first host of Slurm's list: `gpu[03-05,09],cpu1` → gpu03."""
    first = re.match(r"([^,\[]*)(?:\[(\w+))?([^,]*)", nodes)
    assert first is not None
    return first[1] + (first[2] or "")


def _require_even(world: int, counts: list[int], told: str) -> None:
    if len(set(counts)) > 1 or world % counts[0]:
        message = f"one Run takes equally many processes of every node, and here they are {told}: start as many on each"
        raise BadInput([Problem("launcher", "processes per node", message)])

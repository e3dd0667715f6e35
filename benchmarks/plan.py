"""From benchmarks to Runs: every model, sweep point and seed, each with the id of its result."""

from __future__ import annotations

import copy
import importlib.metadata
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import documents
from benchmarks.build import class_at, class_paths
from benchmarks.check import Checker
from benchmarks.grouping import stackable
from benchmarks.identity import FRAME, STACK, TOGETHER, run_id
from benchmarks.problems import BadInput, Problem, close_matches
from benchmarks.ranks import world_size
from benchmarks.resolve import NotHere, Resolver
from benchmarks.schema import Benchmark, read_benchmark
from benchmarks.store import Result


@dataclass(frozen=True)
class Run:
    """One model at one sweep point with one seed, completely resolved."""

    id: str
    benchmark: str
    model: str
    seed: int
    point: Mapping[str, Any]
    config: Mapping[str, Any]
    threads: int | None = None
    time_limit: float | None = None
    paper: str = ""
    needs: tuple[Run, ...] = ()
    stacked: bool = False  # trains as a replica in a stack

    @property
    def folder(self) -> Path:
        """Where its Result lies, below the results folder."""
        return Path(self.benchmark, self.model, self.id)


@dataclass
class Plan:
    """The Runs to have, those that they need first, and what cannot run here with the reason."""

    benchmarks: list[Benchmark] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    absent: list[Result] = field(default_factory=list)

    @property
    def ordered(self) -> list[Run]:
        """All Runs, each after those that it needs, none twice."""
        found: dict[tuple[str, str, str], Run] = {}

        def visit(run: Run) -> None:
            for other in run.needs:
                visit(other)
            found.setdefault((run.benchmark, run.model, run.id), run)

        for run in self.runs:
            visit(run)
        return list(found.values())


def make(benchmarks: Sequence[tuple[Benchmark, bool]], replicas: bool = True, bf16: bool = False) -> Plan:
    """The plan for benchmarks, each with whether it was named exactly.

    Without replicas every Run trains alone, under ids of their own: the results differ in rounding. With bf16, a device
    that has that format, benchmarks that allow it train in mixed precision, under ids of their own too.
    Raises BadInput with everything that is wrong in any of them. What a benchmark needs and is not here is bad
    input where the benchmark was named exactly; otherwise its Runs are listed as absent.
    """
    plan, problems = Plan(), []
    for benchmark, exact in benchmarks:
        plan.benchmarks.append(benchmark)
        try:
            _check_functions(benchmark)
            require(benchmark.needs)
            plan.runs += Planner(benchmark, replicas=replicas, bf16=bf16).runs()
        except BadInput as error:
            problems += error.problems
        except NotHere as error:
            if exact:
                problems.append(Problem(benchmark.file, "data", str(error)))
            missing = [(label, seed) for label in benchmark.models for seed in benchmark.seeds]
            plan.absent += [Result("", benchmark.name, *one, status="not run", error=str(error)) for one in missing]
    if problems:
        raise BadInput(problems)
    return plan


def _check_functions(benchmark: Benchmark) -> None:
    """Raises BadInput where the figure or the summary is no function that can be imported."""
    for entry, path in {"figure": benchmark.figure, "summary": benchmark.summary}.items():
        try:
            found = class_at(path) if path else callable
        except Exception as error:  # importing runs the module, which may raise anything
            raise BadInput([Problem(benchmark.file, entry, f"no function {path!r}: {error}")]) from error
        if not callable(found):
            raise BadInput([Problem(benchmark.file, entry, f"{path} is no function")])


def require(needs: Sequence[str]) -> None:
    """Raises NotHere where a device or an optional dependency is absent."""
    for need in needs:
        if need == "gpu":
            import torch

            if not torch.cuda.is_available():
                raise NotHere("needs a GPU, and none is visible")
        elif need != "download" and (missing := _missing_packages(need)):
            raise NotHere(f"needs {', '.join(missing)}: pip install 'paperzoo[{need}]'")


def _missing_packages(extra: str) -> list[str]:
    from packaging.requirements import Requirement

    missing = []
    for text in importlib.metadata.requires("paperzoo") or ():
        requirement = Requirement(text)
        if requirement.marker and requirement.marker.evaluate({"extra": extra}):
            try:
                importlib.metadata.version(requirement.name)
            except importlib.metadata.PackageNotFoundError:
                missing.append(requirement.name)
    return missing


@dataclass
class Planner:
    """Plans one benchmark; `path` holds the references that led to it, for finding circles."""

    benchmark: Benchmark
    path: tuple[str, ...] = ()
    replicas: bool = True
    bf16: bool = False

    def __post_init__(self) -> None:
        self.resolver = Resolver(Checker(self.benchmark.file))

    def runs(self) -> list[Run]:
        """Every label, sweep point and seed. Raises BadInput, or NotHere where data is missing."""
        labels = self.benchmark.models
        found = [run for label in labels for run in self.label(label, self.benchmark.seeds)]
        self.resolver.checker.done()
        return found

    def label(self, label: str, seeds: Sequence[int]) -> list[Run]:
        settings = self.benchmark.models[label]
        sweep = settings["sweep"]
        points = [dict(zip(sweep, values, strict=True)) for values in itertools.product(*sweep.values())]
        return [run for point in points for run in self._at(label, point, seeds)]

    def _at(self, label: str, point: Mapping[str, Any], seeds: Sequence[int]) -> list[Run]:
        settings = copy.deepcopy(dict(self.benchmark.models[label]))
        if self.bf16 and self.benchmark.bf16:
            settings["trainer"].setdefault("precision", "bf16-mixed")
        for key, value in point.items():
            _put(settings, key.split("."), value)
        runs: list[Run] = []
        version = ""
        for seed in seeds:
            filled, needs = self._references(label, settings, seed)
            fixed = "seed" in (filled["data"].get("init_args") or {})
            if runs and not needs and not fixed:
                config = _reseeded(runs[0].config, seed)
                runs.append(self._run(label, seed, point, config, version, ()))
                continue
            resolved = self.resolver.settings(label, filled, seed)
            if resolved is None:
                return []
            config, spec = resolved
            version = spec.version
            runs.append(self._run(label, seed, point, config, version, needs))
        return runs

    def _run(
        self,
        label: str,
        seed: int,
        point: Mapping[str, Any],
        config: Mapping[str, Any],
        version: str,
        needs: tuple[Run, ...],
    ) -> Run:
        benchmark = self.benchmark
        stacked = self.replicas and stackable(config)
        frame = STACK if stacked else FRAME if world_size(config) == 1 else TOGETHER
        identity = run_id(config, seed, version, class_paths(config), frame)
        rest = (benchmark.threads, benchmark.time_limit, str(benchmark.paper.get("key", "")))
        return Run(identity, benchmark.name, label, seed, point, config, *rest, needs, stacked)

    def _references(self, label: str, settings: dict[str, Any], seed: int) -> tuple[dict[str, Any], tuple[Run, ...]]:
        """The settings with every `{from: …}` argument described, and the Runs that make them."""
        arguments = settings["model"].get("init_args") or {}
        if not isinstance(arguments, dict):
            return settings, ()
        wanted = {k: v["from"] for k, v in arguments.items() if isinstance(v, dict) and set(v) == {"from"}}
        needs, described = [], {}
        for key, reference in wanted.items():
            run = self._referred(f"models.{label}.init_args.{key}.from", label, reference, seed)
            needs.append(run)
            described[key] = {**run.config["model"], "from": run.id}
        model = {**settings["model"], "init_args": {**arguments, **described}} if wanted else settings["model"]
        return {**settings, "model": model}, tuple(needs)

    def _referred(self, entry: str, label: str, reference: Any, seed: int) -> Run:
        def refuse(message: str, close: tuple[str, ...] = ()) -> BadInput:
            return BadInput([Problem(self.benchmark.file, entry, message, close, documents.LIST_COMMAND)])

        here = f"{self.benchmark.name}/{label}"
        name, _, target = str(reference).rpartition("/")
        path = (*self.path, here)
        if reference in path:
            raise refuse(f"a circle: {' → '.join((*path, str(reference)))}")
        other = self.benchmark if name == self.benchmark.name else None
        if other is None:
            files = documents.benchmark_files()
            if name not in files:
                raise refuse(
                    f"no benchmark {name!r} in {reference!r}: expected benchmark/model",
                    close_matches(name, list(files)),
                )
            other = read_benchmark(name, files[name], documents.read(files[name]), {})
        if target not in other.models:
            raise refuse(f"{name} has no model {target!r}", close_matches(target, list(other.models)))
        planner = Planner(other, path, self.replicas, self.bf16)
        runs = planner.label(target, (other.seeds[0] if other.deterministic else seed,))
        planner.resolver.checker.done()
        if len(runs) != 1:
            raise refuse(f"{reference} is swept: name a benchmark with one Run a seed")
        return runs[0]


def _put(node: Any, keys: list[str], value: Any) -> None:
    """Sets what dotted keys name; numbers count the entries of a list, from 0."""
    for key in keys[:-1]:
        node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
    node[keys[-1]] = value


def _reseeded(config: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The same configuration for another seed: only the data's seed follows it."""
    other = copy.deepcopy(dict(config))
    if "seed" in other["data"]["init_args"]:
        other["data"]["init_args"]["seed"] = seed
    return other

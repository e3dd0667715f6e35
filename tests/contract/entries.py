"""Every model of the zoo in every shipped configuration, resolved without touching data files."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import lightning.pytorch as pl
import torch

import zoo
from benchmarks import documents
from benchmarks.build import build, class_at
from benchmarks.check import Checker
from benchmarks.resolve import Resolver
from benchmarks.schema import Benchmark, read_benchmark
from datamodules import ArrayDataModule, Spec

LARGE = 1_000_000  # numbers of a sample


class Examples(ArrayDataModule):
    """Random batches of a spec's shapes, in place of data that may not be here: all in one, or several an epoch.

    Of large samples, such as whole graphs of papers, there are few.
    """

    def __init__(self, spec: Spec, whole: bool = False) -> None:
        large = max(math.prod(field.shape) for field in spec.batch) > LARGE
        size, batch_size = (3, 1) if large else (12, 4)
        super().__init__(batch_size=size if whole else batch_size, seed=0)
        self.given, self.size = spec, size

    @property
    def spec(self) -> Spec:
        return Spec(self.given.batch, self.given.arguments, dict.fromkeys(self.given.sizes, self.size), "examples")

    def load(self, split: str) -> tuple[torch.Tensor, ...]:
        drawn: tuple[torch.Tensor, ...] = self.given.example(self.size, "cpu")
        # fields of one shape are drawn alike: a target that is the input would leave an identity nothing to learn
        return tuple(tensor.roll(position, 0) for position, tensor in enumerate(drawn))


@dataclass(frozen=True)
class Entry:
    """A label of a benchmark, with its resolved configuration and the spec of its data."""

    benchmark: Benchmark
    label: str
    config: dict[str, Any]
    spec: Spec

    @property
    def model_class(self) -> Any:
        return class_at(self.config["model"]["class_path"])

    @property
    def whole(self) -> bool:
        """Whether the training split is one batch, as a model may rely on."""
        data = build(self.config["data"])
        return isinstance(data, ArrayDataModule) and data.batch_size >= self.spec.sizes["train"]

    @property
    def tiny(self) -> dict[str, Any]:
        """The configuration with the model's tiny hyper-parameters."""
        config = copy.deepcopy(self.config)
        config["model"]["init_args"] |= self.model_class.tiny
        return config


@cache
def benchmarks() -> tuple[Benchmark, ...]:
    files = documents.benchmark_files()
    return tuple(read_benchmark(name, path, documents.read(path), {}) for name, path in files.items())


def entries(benchmark: Benchmark) -> tuple[Entry, ...]:
    """The labels of a benchmark, resolved and tried on the meta device, data files not needed."""
    return tuple(_entry(benchmark, label) for label in benchmark.models)


_RESOLVED: dict[tuple[str, str], Entry] = {}
_SPECS: dict[Any, Any] = {}  # data modules' specs by their settings, for all labels that share them


def _entry(benchmark: Benchmark, label: str) -> Entry:
    if (benchmark.name, label) not in _RESOLVED:
        _RESOLVED[benchmark.name, label] = _resolved(benchmark, label)
    return _RESOLVED[benchmark.name, label]


def _resolved(benchmark: Benchmark, label: str) -> Entry:
    resolver, given = Resolver(Checker(benchmark.file)), benchmark.models[label]
    settings = {**given, "model": _untrained(given["model"])}
    if (key := resolver.key(settings["data"], 0)) not in _SPECS:
        data = resolver.checker.resolve("data", settings["data"], pl.LightningDataModule, fill={"seed": 0})
        resolver.checker.done()
        assert data is not None
        _SPECS[key] = data, build(data).spec
    resolver.specs[key] = _SPECS[key]
    resolved = resolver.settings(label, settings, 0)
    resolver.checker.done()
    assert resolved is not None
    return Entry(benchmark, label, *resolved)


def _untrained(node: dict[str, Any]) -> dict[str, Any]:
    """A model entry with a fresh model of the same description in place of each that another Run would have trained."""
    arguments = dict(node.get("init_args") or {})
    for key, value in arguments.items():
        if isinstance(value, dict) and set(value) == {"from"}:
            name, _, label = value["from"].rpartition("/")
            (other,) = (benchmark for benchmark in benchmarks() if benchmark.name == name)
            arguments[key] = _untrained(other.models[label]["model"])
    return {**node, "init_args": arguments} if arguments else node


def entry_of(model: str) -> Entry:
    """The first configuration that uses a model of the zoo; no other one is resolved."""
    path = zoo.info(model)["class_path"]
    for benchmark in benchmarks():
        for label, settings in benchmark.models.items():
            if settings["model"]["class_path"] == path:
                return _entry(benchmark, label)
    raise AssertionError(f"no configuration uses {model}: give it one in configs/{model.partition('.')[0]}/")

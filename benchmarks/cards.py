"""Cards: what is told of published weights, from a Result and from those of its other seeds."""

from __future__ import annotations

import datetime
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from benchmarks import documents
from benchmarks.build import build, class_at
from benchmarks.schema import read_benchmark
from benchmarks.store import Result
from benchmarks.verdicts import average, t_interval
from zoo import _weights
from zoo._module import ZooModule
from zoo._preprocessing import arguments, preprocess

#: The project's packages, whose classes have a shorter public path.
PACKAGES = ("zoo", "datamodules")
LICENCE = "Apache-2.0"


def describe(name: str, result: Result, known: Sequence[Result]) -> dict[str, Any]:
    """The card of a finished Result's weights, apart from the tensor file's size and hash.

    The metrics are those of the saved weights, with the mean and its 95 % interval over every finished Result among
    the known ones that differs in the seed alone; of several with one seed the newest counts. Raises ValueError where
    the data module's raw values and preprocessing do not give its batches.
    """
    config, seeds = result.config(), _seeds(result, known)
    model, data = (_public(_weights.plain(config[key])) for key in ("model", "data"))
    module = data_of(config)
    return {
        "name": name,
        "summary": (class_at(model["class_path"]).__doc__ or "").strip().partition("\n")[0],
        **_benchmark(result.benchmark),
        "label": result.model,
        **model,
        "data": data,
        "input": _input(build(model), module),
        "classes": list(names) if (names := getattr(module, "class_names", None)) else None,
        "metrics": {key: _spread(key, result, seeds) for key in result.metrics if key.startswith("test/")},
        "seed": result.seed,
        "seeds": sorted(seeds),
        "run_id": result.id,
        **{key: getattr(result, key) for key in ("params", "commit", "device", "threads", "started")},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": dict(result.versions),
        "licence": {"weights": LICENCE, "data": getattr(module, "licence", "")},
        "config": config,
    }


def data_of(config: Mapping[str, Any]) -> pl.LightningDataModule:
    """The data of a resolved configuration, its files in place. Raises DataMissing."""
    data: pl.LightningDataModule = build(config["data"])
    data.prepare_data()
    return data


def raw_of(model: ZooModule, data: pl.LightningDataModule) -> tuple[Tensor, ...]:
    """The model's inputs of the test split before preprocessing.

    Where the data module knows nothing of it, they are those of its first test batch.
    """
    return model.inputs(data.raw("test")) if hasattr(data, "raw") else _batch(model, data)


def _batch(model: ZooModule, data: pl.LightningDataModule) -> tuple[Tensor, ...]:
    data.setup("test")
    if (batch := next(iter(data.test_dataloader()), None)) is None:
        raise ValueError(f"{type(data).__name__} has no test split")
    return model.inputs(batch)


def _input(model: ZooModule, data: pl.LightningDataModule) -> dict[str, Any] | list[dict[str, Any]]:
    """What a card says of the input; of several, each with its name. The first of them is what is preprocessed."""
    batch, raw, names = _batch(model, data), raw_of(model, data), arguments(model)
    if len(names) != len(batch):
        raise ValueError(f"{type(model).__name__} takes {len(batch)} inputs, and forward names {', '.join(names)}")
    steps = [getattr(data, "preprocessing", []), *([] for _ in batch[1:])]
    made = {n: preprocess(x[: len(b)], s).to(b.dtype) for n, x, s, b in zip(names, raw, steps, batch, strict=True)}
    for x, b in zip(model.complete(made).values(), batch, strict=True):
        if x.shape != b.shape or not x.allclose(b, atol=1e-5):  # what is rounded in a data set's files
            raise ValueError(
                f"{type(data).__name__}: preprocessing {steps[0]} does not make its batches of raw('test')"
            )
    described = [_described(*each) for each in zip(batch, raw, steps, strict=True)]
    if len(batch) == 1:
        return described[0]
    return [{"name": name, **each} for name, each in zip(names, described, strict=True)]


def _described(batch: Tensor, raw: Tensor, steps: list[list[Any]]) -> dict[str, Any]:
    """Shapes and dtypes, and the steps from the one to the other."""
    return {
        "raw_shape": list(raw.shape[1:]),
        "raw_dtype": str(raw.dtype).removeprefix("torch."),
        "shape": list(batch.shape[1:]),
        "dtype": str(batch.dtype).removeprefix("torch."),
        "preprocessing": steps,
    }


def _benchmark(name: str) -> dict[str, Any]:
    """Title of a shipped benchmark, and what to cite of its papers and data; for a user's own these are empty."""
    if (path := documents.benchmark_files().get(name)) is None:
        return {"benchmark": name, "title": "", "citation": ""}
    from benchmarks.cite import citations

    benchmark = read_benchmark(name, path, documents.read(path), {})
    return {"benchmark": name, "title": benchmark.title, "citation": citations([benchmark], software=False)}


def _public(node: Any) -> Any:
    """An entry with the paths under which the project exports its classes: `zoo.family.Class`, `datamodules.Class`."""
    if isinstance(node, dict):
        return {k: _shortest(v) if k == "class_path" else _public(v) for k, v in node.items()}
    return [_public(value) for value in node] if isinstance(node, list) else node


def _shortest(path: str) -> str:
    *modules, name = path.split(".")
    if modules[0] in PACKAGES:
        for depth in range(1, len(modules)):
            package = importlib.import_module(".".join(modules[:depth]))
            if getattr(package, name, None) is class_at(path):
                return ".".join((*modules[:depth], name))
    return path


def _seeds(result: Result, known: Sequence[Result]) -> dict[int, Result]:
    """The finished Results that differ from the given one in the seed alone, and itself, by seed."""

    def like(other: Result) -> bool:
        same = (other.status, other.benchmark, other.model) == ("finished", result.benchmark, result.model)
        return same and _seedless(other.config()) == _seedless(result.config())

    alike = sorted(filter(like, known), key=lambda other: other.started)
    return {other.seed: other for other in alike} | {result.seed: result}


def _seedless(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without what differs between seeds: the data's seed, and the Runs that made nested models."""
    arguments = {key: value for key, value in config["data"]["init_args"].items() if key != "seed"}
    data = {**config["data"], "init_args": arguments}
    return {**config, "data": data, "model": _weights.plain(config["model"])}


def _spread(metric: str, result: Result, seeds: Mapping[int, Result]) -> dict[str, Any]:
    values = [other.metrics[metric] for other in seeds.values() if metric in other.metrics]
    interval = t_interval(values)
    return {
        "value": result.metrics[metric],
        "mean": average(values),
        "interval": list(interval) if interval else None,
        "n": len(values),
    }

"""What every shipped configuration promises."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from benchmarks import documents, execute, plan
from benchmarks.build import build, class_at
from benchmarks.grouping import stackable
from benchmarks.schema import Benchmark
from benchmarks.store import Result
from tests.contract import files
from tests.contract.entries import Entry, benchmarks, entries

BENCHMARKS = {benchmark.name: benchmark for benchmark in benchmarks()}


@pytest.fixture(params=list(BENCHMARKS))
def benchmark(request: pytest.FixtureRequest) -> Benchmark:
    return BENCHMARKS[request.param]


@pytest.fixture(scope="session")
def written_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    files.write(root)
    return root


@pytest.fixture
def data_files(written_files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of such files; torchvision compares no sums of CIFAR-10's, which are those of the real ones."""
    import torchvision

    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda path, md5=None: Path(path).is_file())
    monkeypatch.setenv("ZOO_CACHE_DIR", str(written_files / "cache"))
    return written_files


def test_it_resolves_and_every_model_takes_a_batch(benchmark: Benchmark) -> None:
    assert [entry.label for entry in entries(benchmark)] == list(benchmark.models)


def test_it_runs_two_steps(
    benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_files: Path
) -> None:
    if "download" in benchmark.needs:
        monkeypatch.setenv("ZOO_DATA_DIR", str(data_files))
    try:
        plan.require([need for need in benchmark.needs if need != "gpu"])
    except plan.NotHere as absent:
        pytest.skip(str(absent))
    results = [_two_steps(entry, tmp_path) for entry in entries(benchmark)]
    for result in results:
        assert result.status == "finished", result.error
        assert any(name.startswith("test/") for name in result.metrics)
    if benchmark.figure:
        class_at(benchmark.figure)(results).savefig(tmp_path / "figure.png")


def _two_steps(entry: Entry, folder: Path) -> Result:
    """The Result of an epoch of two steps, made in this process; what needs a GPU is made in small."""
    limits = {
        "max_steps": -1,
        "max_epochs": 1,
        "limit_train_batches": 2,
        "limit_val_batches": 1,
        "limit_test_batches": 1,
    }
    given = entry.tiny if "gpu" in entry.benchmark.needs else entry.config
    config = given | {"trainer": {**given["trainer"], **limits}}
    run = plan.Run("two-steps", entry.benchmark.name, entry.label, 0, {}, config, stacked=stackable(config))
    (folder / run.folder).mkdir(parents=True)
    return execute.measure([run], execute.Options(folder, "disabled"), 0)[0]


def test_needs_say_whether_a_download_is_needed(benchmark: Benchmark) -> None:
    downloads = any(class_at(entry.config["data"]["class_path"]).downloads for entry in entries(benchmark))
    assert ("download" in benchmark.needs) == downloads


def test_every_claim_has_a_source_and_a_published_one_its_paper(benchmark: Benchmark) -> None:
    for claim in benchmark.claims:
        assert len(claim.source.split()) >= 3, "a source says where the number comes from"
        if claim.evidence == "published":
            assert benchmark.paper.get("url"), "a published claim needs its paper"


def test_names_it_gives_exist(benchmark: Benchmark) -> None:
    for path in filter(None, (benchmark.figure, benchmark.summary)):
        assert callable(class_at(path))


def test_a_spec_is_what_the_loaded_tensors_have(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, data_files: Path
) -> None:
    monkeypatch.setenv("ZOO_DATA_DIR", str(data_files))
    for config in {json.dumps(entry.config["data"]): entry.config["data"] for entry in entries(benchmark)}.values():
        data = build(config)
        spec = data.spec
        batch = next(iter(data.train_dataloader()))
        for given, field in zip(batch, spec.batch, strict=True):
            assert tuple(given.shape[1:]) == field.shape
            assert given.dtype == field.dtype
            assert field.classes is None or 0 <= int(given.min()) <= int(given.max()) < field.classes
        for split in ("val", "test"):
            loader = getattr(data, f"{split}_dataloader")()
            assert sum(len(part[0]) for part in loader) == spec.sizes.get(split, 0)


@pytest.mark.parametrize("name", list(documents.suite_files()))
def test_a_suite_names_benchmarks(name: str) -> None:
    assert documents.suite(name)


def test_the_quick_suite_needs_no_download_and_full_has_everything() -> None:
    assert not any(BENCHMARKS[name].needs for name in documents.suite("quick"))
    assert set(documents.suite("full")) == set(BENCHMARKS)


def test_configurations_are_sorted_into_families_of_the_zoo() -> None:
    folders = {name.partition("/")[0] for name in BENCHMARKS}
    assert folders <= set(os.listdir(Path(__file__).parents[2] / "zoo"))

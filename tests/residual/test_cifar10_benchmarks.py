"""The benchmarks that need a GPU and CIFAR-10: refused without, and run here in small, on images of the same shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import documents, plan, train
from benchmarks.problems import BadInput
from benchmarks.schema import Benchmark
from tests.contract.entries import Examples, benchmarks, entries
from zoo.residual.unnormalised import BLOCKS

NAMES = ("residual/cifar10_exponents", "residual/deep_limit_cifar10")
BENCHMARKS = {benchmark.name: benchmark for benchmark in benchmarks() if benchmark.name in NAMES}


@pytest.fixture(params=NAMES)
def benchmark(request: pytest.FixtureRequest) -> Benchmark:
    return BENCHMARKS[request.param]


def test_without_a_gpu_the_name_is_refused_and_a_glob_shows_it_as_not_run(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadInput, match="needs a GPU, and none is visible"):
        plan.make([(benchmark, True)])
    made = plan.make([(benchmark, False)])
    assert not made.runs
    assert {(r.model, r.seed) for r in made.absent} == {(m, s) for m in benchmark.models for s in benchmark.seeds}
    assert {(r.status, r.error) for r in made.absent} == {("not run", "needs a GPU, and none is visible")}


def test_in_small_it_measures_all_that_its_claims_are_about(
    benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for entry in entries(benchmark):
        config = entry.tiny | {"trainer": {"max_epochs": 2}}
        model, _ = train.assemble(config, 0)
        data = Examples(entry.spec)
        with monkeypatch.context() as patched:
            patched.setattr(train, "assemble", lambda *_, given=(model, data): given)
            outcome = train.run(config, 0, tmp_path / entry.label)
        claimed = {claim.metric for claim in benchmark.claims if claim.model == entry.label}
        assert claimed <= outcome.metrics.keys()
        layers: Any = model
        for name, weights in layers.along_depth().items():
            assert outcome.arrays[f"{name}_norms"].shape == (1, len(weights))
            assert outcome.arrays[f"{name}_entry"][0].tolist() == [float(w.detach().flatten()[0]) for w in weights]


def test_every_depth_of_the_exponents_is_one_of_the_network() -> None:
    swept = BENCHMARKS["residual/cifar10_exponents"].models["relu"]["sweep"]["model.init_args.depth"]
    assert list(swept) == [depth for depth in BLOCKS if depth != 18]


def test_both_are_part_of_the_families_suites() -> None:
    assert set(NAMES) <= set(documents.suite("differential")) & set(documents.suite("full"))

"""Magnitude pruning, at once and gradually (Han et al., 2015; Zhu and Gupta, 2017)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import train
from tests.sparse.methods import Watch, config
from zoo.sparse import FullyConnected, GradualMagnitude, Magnitude
from zoo.sparse._masks import Masked
from zoo.sparse.gradual import cubic

SIZES = (40 * 30, 30 * 20, 20 * 10)


def installed(method: Magnitude | GradualMagnitude, steps: int = 100) -> Masked:
    """A method with its masks on a fresh network, for a training of 100 steps."""
    torch.manual_seed(0)
    masked = method.install(FullyConnected(40, 10, (30, 20)))
    method.total = steps
    method.begin(masked)
    return masked


def parts(masked: Masked, masks: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """What is kept and what is dropped of each weight, by size."""
    sizes = {name: weight.detach().abs() for name, weight in masked.weights.items()}
    return [(sizes[name][own], sizes[name][~own]) for name, own in masks.items()]


@pytest.mark.parametrize("density", [0.001, 0.1, 0.3337, 1.0])
def test_globally_the_largest_of_all_weights_are_kept(density: float) -> None:
    masked = installed(method := Magnitude(density))
    found = parts(masked, method.update(masked, 50))
    kept, dropped = (torch.cat([part[which] for part in found]) for which in (0, 1))
    assert len(kept) == round(density * sum(SIZES))
    assert density == 1 or kept.min() >= dropped.max()


@pytest.mark.parametrize("density", [0.1, 0.3337])
def test_uniformly_the_largest_of_each_layer_are_kept(density: float) -> None:
    masked = installed(method := Magnitude(density, scope="uniform"))
    for size, (kept, dropped) in zip(SIZES, parts(masked, method.update(masked, 50)), strict=True):
        assert len(kept) == round(density * size)
        assert kept.min() >= dropped.max()


@pytest.mark.parametrize(("at", "dense"), [(0.0, 0), (0.5, 9), (0.99, 17)])
def test_it_prunes_once_at_its_share_of_the_steps(at: float, dense: int, tmp_path: Path) -> None:
    made = config("Magnitude")
    made["callbacks"][0]["init_args"] = {"density": 0.25, "at": at}
    train.run(made, 0, tmp_path, callbacks=[watch := Watch()])
    assert watch.densities == [1.0] * dense + [round(0.25 * 344) / 344] * (18 - dense)


@pytest.mark.parametrize(
    ("progress", "sparsity"), [(0, 0.0), (1 / 4, 0.5203125), (1 / 2, 0.7875), (3 / 4, 0.8859375), (1, 0.9)]
)
def test_the_cubic_schedule(progress: float, sparsity: float) -> None:
    assert cubic(progress, 0.0, 0.9) == pytest.approx(sparsity, abs=1e-15)


@pytest.mark.parametrize("scope", ["global", "uniform", "erk"])
def test_the_model_is_as_dense_as_the_schedule_says_and_what_is_gone_stays_gone(scope: str) -> None:
    masked = installed(method := GradualMagnitude(0.1, begin=0.1, end=0.7, every=15, scope=scope))
    changes = {}
    for step in range(100):
        if method.due(step):
            before = {name: own.clone() for name, own in masked.masks.items()}
            masked.set(method.update(masked, step))
            assert not any((own & ~before[name]).any() for name, own in masked.masks.items())
            changes[step] = sum(int(own.sum()) for own in masked.masks.values())
        assert method.settled == (step >= 70)
    expected = {step: (1 - 0.9 * (1 - (1 - (step - 10) / 60) ** 3)) * sum(SIZES) for step in (10, 25, 40, 55, 70)}
    assert changes.keys() == expected.keys()
    for step, count in expected.items():
        assert abs(changes[step] - count) <= (0.5 if scope == "global" else 1.5) + 1e-9, "each number is rounded"


def test_a_training_follows_the_schedule(tmp_path: Path) -> None:
    """18 steps, of which the first 9 prune: 344 weights, and changes at 0, 2, 4, 6, 8 and 9."""
    made = config("GradualMagnitude")
    made["callbacks"][0]["init_args"] = {"density": 0.1, "initial": 0.8, "every": 2}
    train.run(made, 0, tmp_path, callbacks=[watch := Watch()])
    steps = [min(step - step % 2, 8) if step < 9 else 9 for step in range(18)]
    assert watch.densities == [round((0.1 + 0.7 * (1 - step / 9) ** 3) * 344) / 344 for step in steps]


def test_zeros_that_are_there_outlive_those_that_were_dropped() -> None:
    """As in a layer that starts at zero: a weight that is gone does not come back in place of one that is not."""
    masked = installed(method := GradualMagnitude(0.2))
    for weight in masked.weights.values():
        torch.nn.init.zeros_(weight)
    masked.set(method.update(masked, 10))
    before = {name: own.clone() for name, own in masked.masks.items()}
    after = method.update(masked, 40)
    assert not any((own & ~before[name]).any() for name, own in after.items())


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        (Magnitude, {"density": 0.0}, r"density must lie in \(0, 1\], got 0.0"),
        (Magnitude, {"density": 1.5}, r"density must lie in \(0, 1\], got 1.5"),
        (Magnitude, {"at": 1.0}, r"at must lie in \[0, 1\), a share of the training's steps, got 1.0"),
        (Magnitude, {"scope": "globally"}, "scope must be one of 'global', 'uniform', .*, got 'globally'"),
        (GradualMagnitude, {"density": 0.2, "initial": 0.1}, "initial must be at least the density .* 0.2, got 0.1"),
        (GradualMagnitude, {"initial": 1.2}, r"initial must lie in \(0, 1\], got 1.2"),
        (GradualMagnitude, {"begin": 0.5, "end": 0.5}, "begin and end must be shares .*, got 0.5 and 0.5"),
        (GradualMagnitude, {"end": 1.0}, "begin and end must be shares .*, got 0.0 and 1.0"),
        (GradualMagnitude, {"every": 0}, "every must be at least 1, got 0"),
    ],
)
def test_bad_arguments_are_refused(method: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method(**arguments)


@pytest.mark.parametrize("method", [Magnitude, GradualMagnitude])
def test_a_density_that_a_scope_cannot_reach_is_refused_before_the_training(method: Any) -> None:
    refused = method(0.001, scope="uniform").refusal(FullyConnected(40, 10, (30, 20)), None)
    assert refused.startswith("density 0.001 cannot be reached by uniform: it leaves no weight of the 200 in layers.2.")

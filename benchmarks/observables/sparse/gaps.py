"""What sparse networks lack to dense ones, and how that changes with their size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from benchmarks.store import Result

DENSE = "dense"  # the label that the others are compared with
Gaps = dict[str, dict[float, dict[int, float]]]


def gaps(results: Sequence[Result], metric: str = "test/accuracy") -> tuple[str, Gaps]:
    """The key of the sweep, and by label, size and seed what a network lacks to the dense one of its size and seed.

    Without a sweep there is one size.
    """
    found: dict[tuple[str, float, int], float] = {}
    key = ""
    for result in results:
        key, size = next(iter(result.row["point"].items()), ("", 1))
        found[result.model, size, result.seed] = result.metrics[metric]
    gap: Gaps = {}
    for (label, size, seed), value in sorted(found.items()):
        if label != DENSE and (DENSE, size, seed) in found:
            gap.setdefault(label, {}).setdefault(size, {})[seed] = found[DENSE, size, seed] - value
    return key, gap


def shrinking(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Metrics over seeds for each label and size: `gap` to the dense network, its mean, and beside it

        gap_ratio     that gap over the one of the next smaller networks
        gap_of_first  that gap over the one of the smallest networks

    A ratio to a gap of nothing, or less, is not given. Every size has to have the same seeds.
    """
    key, found = gaps(results)
    rows = []
    for label, by_size in found.items():
        means = {size: mean(by_seed.values()) for size, by_seed in sorted(by_size.items())}
        least = min(len(by_seed) for by_seed in by_size.values())
        for size, before in zip(means, [None, *means], strict=False):
            metrics = {"gap": means[size]} | _ratios(means, size, before)
            rows.append({"model": label, "point": {key: size}, "metrics": metrics, "n": least})
    return rows


def _ratios(means: Mapping[float, float], size: float, before: float | None) -> dict[str, float]:
    if before is None:
        return {}
    pairs = {"gap_ratio": before, "gap_of_first": min(means)}
    return {name: means[size] / means[other] for name, other in pairs.items() if means[other] > 0}

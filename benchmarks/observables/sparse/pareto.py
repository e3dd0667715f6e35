"""What a sparse network achieves for its size: accuracy per non-zero parameter, and over a range of sizes."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import log10
from typing import Any

from benchmarks.store import Result

Curve = Mapping[float, float]  # accuracy by the number of non-zero parameters


def efficiency(accuracy: Any, size: Any) -> Any:
    """Per cent of accuracy for a million parameters that are not zero, 100 accuracy / (size / 10^6)."""
    return 100 * accuracy / (size / 1e6)


def area(curve: Curve) -> float:
    """The mean accuracy over the logarithm of the size, by trapezoids between the sizes that were trained.

        1 / (log n_K - log n_1) sum_k (log n_{k+1} - log n_k) (a_k + a_{k+1}) / 2

    Comparable between methods for one range of sizes only. Raises ValueError for fewer than two sizes.
    """
    points = sorted((log10(size), accuracy) for size, accuracy in curve.items())
    if len(points) < 2:
        raise ValueError(f"an area lies below a curve of two sizes or more, got {len(points)}")
    parts = [(b - a) * (y + z) / 2 for (a, y), (b, z) in pairwise(points)]
    return sum(parts) / (points[-1][0] - points[0][0])


def nonzero(result: Result) -> float:
    """The number of parameters that are not zero: all of a network that nothing prunes."""
    return result.metrics.get("test/nonzero", result.params)


def curves(results: Sequence[Result]) -> dict[str, dict[int, Curve]]:
    """The curve of each model and seed."""
    found: dict[str, dict[int, dict[float, float]]] = {}
    for result in results:
        curve = found.setdefault(result.model, {}).setdefault(result.seed, {})
        curve[nonzero(result)] = result.metrics["test/accuracy"]
    return {model: dict(seeds) for model, seeds in found.items()}


def pareto(results: Sequence[Result]) -> list[dict[str, Any]]:
    """`summary/efficiency` of each model at each sweep point, and `summary/area` of its curve, in the mean over seeds.

    The two formulas are ours. The area stands at every point of its model, so that a claim can name it at any.
    """
    rows = []
    found = curves(results)
    for model, point in {(result.model, tuple(result.point.items())): None for result in results}:
        own = [r for r in results if (r.model, tuple(r.point.items())) == (model, point)]
        each = [efficiency(r.metrics["test/accuracy"], nonzero(r)) for r in own]
        metrics = {"summary/efficiency": statistics.mean(each)}
        if all(len(curve) > 1 for curve in found[model].values()):
            metrics["summary/area"] = statistics.mean(map(area, found[model].values()))
        rows.append({"model": model, "point": dict(point), "metrics": metrics, "n": len(own)})
    return rows

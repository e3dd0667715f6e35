"""What pruning and rewinding does to a network, round by round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.store import Result

METRIC = "val/accuracy"


def gains(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Of each label, by how much the accuracy of each round on validation data is above that of the unpruned network.

    A metric `gain_K` of round K, the mean over seeds.
    """
    rows = []
    for label in dict.fromkeys(result.model for result in results):
        own = [rounds(result) for result in results if result.model == label]
        count = min(map(len, own))
        metrics = {f"gain_{k}": sum(curve[k] - curve[0] for curve in own) / len(own) for k in range(1, count)}
        rows.append({"model": label, "point": {}, "metrics": metrics, "n": len(own)})
    return rows


def rounds(result: Result) -> list[float]:
    """A Run's accuracy on validation data at the end of each round."""
    named = {int(k.partition("/")[0].removeprefix("round_")): v for k, v in result.metrics.items() if _is_round(k)}
    return [named[k] for k in sorted(named)]


def _is_round(name: str) -> bool:
    return name.startswith("round_") and name.endswith(f"/{METRIC}")

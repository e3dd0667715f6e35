"""Verdicts: claims tested on Results.

A claim is about the mean or the median over seeds. It is *reproduced* when that statistic lies within the stated
bounds over at least three seeds (one, where the benchmark is deterministic); `better` also needs its paired 95 %
t-interval to exclude no effect, and `equivalent` its whole paired 90 % t-interval to lie within the margin: two
one-sided tests at 5 % (for a ratio, of its logarithm, within log(1 + margin) of 0). Otherwise it is *not reproduced*,
or *not run* with the reason.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from benchmarks.claims import Claim

MIN_SEEDS = 3
Rows = Sequence[Mapping[str, Any]]
Samples = dict[int, float]


@dataclass(frozen=True)
class Verdict:
    """A claim's outcome: the statistic, its interval over seeds, what follows, and the Runs that it rests on.

    The interval is that of 95 %, or of 90 % for `equivalent`.
    """

    claim: Claim
    verdict: Literal["reproduced", "not reproduced", "not run"]
    reason: str = ""
    mean: float | None = None
    interval: tuple[float, float] | None = None
    n: int = 0
    runs: tuple[str, ...] = ()

    def row(self, benchmark: str) -> dict[str, Any]:
        """The verdict as one flat record."""
        claim = self.claim
        bounds = (claim.value, claim.at_least, claim.at_most, claim.margin)
        return {
            "benchmark": benchmark,
            "kind": claim.kind,
            "model": claim.model,
            "metric": claim.metric,
            "at": dict(claim.at),
            "than": claim.than,
            "by": claim.by,
            "stated": claim.stated,
            "evidence": claim.evidence,
            "source": claim.source,
            "statistic": claim.statistic,
            "value": next((b for b in bounds if b is not None), None),
            "tolerance": claim.tolerance,
            "mean": self.mean,
            "interval": list(self.interval) if self.interval else None,
            "n": self.n,
            "verdict": self.verdict,
            "reason": self.reason,
            "runs": list(self.runs),
        }


def judge(
    claim: Claim, rows: Rows, summaries: Rows = (), *, deterministic: bool = False, changed: Sequence[str] = ()
) -> Verdict:
    """The verdict on a claim from the rows of its benchmark's Results.

    A row has model, point, seed, status, error and metrics; a summary row has model, point, metrics and n.
    `changed` lists settings that differ from the benchmark's own: claims then are about another protocol.
    """
    concerned = [row for row in rows if row["model"] in (claim.model, claim.than) and _at(claim, row)]
    verdict = _judge(claim, concerned, summaries, deterministic, changed)
    return replace(verdict, runs=tuple(row["id"] for row in concerned if row.get("id")))


def _judge(claim: Claim, concerned: Rows, summaries: Rows, deterministic: bool, changed: Sequence[str]) -> Verdict:
    if changed:
        return Verdict(claim, "not run", f"settings changed: {', '.join(changed)}")
    if reason := _unfinished(concerned):
        return Verdict(claim, "not run", reason)
    for row in (row for row in summaries if row["model"] == claim.model and _at(claim, row)):
        if claim.metric in row["metrics"]:
            return _judge_summary(claim, row, deterministic)
    if reason := _unmeasured(claim, concerned):
        return Verdict(claim, "not run", reason)
    return _judge_samples(claim, concerned, deterministic)


def _judge_samples(claim: Claim, rows: Rows, deterministic: bool) -> Verdict:
    try:
        samples = _samples(claim, rows)
    except ZeroDivisionError:
        return Verdict(claim, "not run", f"there is no ratio to {claim.than}, which has a zero")
    except ValueError as error:
        return Verdict(claim, "not reproduced", str(error))
    verdict = _test(claim, samples, rows, deterministic)
    needed = 1 if deterministic else MIN_SEEDS
    if len(samples) < needed:
        reason = f"too few seeds: {len(samples)} of at least {needed}"
        return Verdict(claim, "not run", reason, verdict.mean, verdict.interval, verdict.n)
    return verdict


def _unmeasured(claim: Claim, rows: Rows) -> str:
    if rows and all(claim.metric in row["metrics"] for row in rows):
        return ""
    logged = sorted({name for row in rows for name in row["metrics"]})
    return f"no metric {claim.metric!r}; logged were {', '.join(logged) or 'none'}"


def _at(claim: Claim, row: Mapping[str, Any]) -> bool:
    return all(row["point"].get(key, value) == value for key, value in claim.at.items())  # a baseline has no sweep


def _unfinished(rows: Rows) -> str:
    for status in ("failed", "not run"):
        if some := [row for row in rows if row["status"] == status]:
            return f"{len(some)} of {len(rows)} Runs {status}: {some[0]['error']}"
    return ""


def _samples(claim: Claim, rows: Rows) -> Samples:
    """The number per seed that the claim's statistic is taken of."""
    by_seed: dict[int, dict[Any, float]] = {}
    for row in rows:
        key = row["point"][claim.over] if claim.over is not None else row["model"]
        by_seed.setdefault(row["seed"], {})[key] = row["metrics"][claim.metric]
    if claim.kind == "slope":
        return {seed: _log_log_slope(curve) for seed, curve in by_seed.items()}
    if claim.kind in ("better", "equivalent"):
        return {seed: _advantage(claim, pair) for seed, pair in by_seed.items() if len(pair) == 2}
    if claim.kind == "monotone":
        sign = 1.0 if claim.direction == "increasing" else -1.0
        return {seed: min(_steps(curve, sign)) for seed, curve in by_seed.items()}
    if claim.than is not None:
        return {seed: _against(claim, pair) for seed, pair in by_seed.items() if len(pair) == 2}
    return {seed: values[claim.model] for seed, values in by_seed.items()}


def _log_log_slope(curve: Mapping[Any, float]) -> float:
    if any(x <= 0 or y <= 0 for x, y in curve.items()):
        raise ValueError("a log-log slope needs positive values")
    logs = [(math.log(x), math.log(y)) for x, y in curve.items()]
    mean_x, mean_y = (sum(column) / len(logs) for column in zip(*logs, strict=True))
    return sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum((x - mean_x) ** 2 for x, _ in logs)


def _steps(curve: Mapping[Any, float], sign: float) -> list[float]:
    ordered = [curve[x] for x in sorted(curve)]
    return [sign * (b - a) for a, b in itertools.pairwise(ordered)]


def _advantage(claim: Claim, pair: Mapping[str, float]) -> float:
    """By how much the model is better, or higher: a difference, or the logarithm of a ratio."""
    ours, theirs = pair[claim.model], pair[str(claim.than)]
    if claim.goal == "lower":
        ours, theirs = theirs, ours
    if claim.by == "difference":
        return ours - theirs
    if ours <= 0 or theirs <= 0:
        raise ValueError("a ratio needs positive values")
    return math.log(ours / theirs)


def _against(claim: Claim, pair: Mapping[str, float]) -> float:
    """The model's metric beside the other's: their difference or ratio."""
    ours, theirs = pair[claim.model], pair[str(claim.than)]
    return ours - theirs if claim.by == "difference" else ours / theirs


def _test(claim: Claim, samples: Samples, rows: Rows, deterministic: bool) -> Verdict:
    values = list(samples.values())
    statistic, interval = average(values, claim.statistic), t_interval(values)
    if claim.kind == "monotone":
        curve: dict[Any, list[float]] = {}
        for row in rows:
            curve.setdefault(row["point"][claim.over], []).append(row["metrics"][claim.metric])
        averages = {x: average(ys, claim.statistic) for x, ys in curve.items()}
        statistic = min(_steps(averages, 1.0 if claim.direction == "increasing" else -1.0))
        return _verdict(claim, statistic > 0, statistic, None, len(values))
    if claim.kind == "better":
        significant = deterministic or (interval is not None and interval[0] > 0)
        ratio = claim.by == "ratio"
        shown = math.exp(statistic) if ratio else statistic
        limits = (math.exp(interval[0]), math.exp(interval[1])) if ratio and interval else interval
        margin = claim.margin if claim.margin is not None else (1.0 if ratio else 0.0)
        return _verdict(claim, significant and shown >= margin and statistic > 0, shown, limits, len(values))
    if claim.kind == "equivalent":
        return _equivalence(claim, values, statistic)
    return _verdict(claim, _within(claim, statistic), statistic, interval, len(values))


def _equivalence(claim: Claim, values: Sequence[float], statistic: float) -> Verdict:
    """Two one-sided tests at 5 %; of a single value, which is all that a deterministic benchmark has, only itself."""
    assert claim.margin is not None, "an equivalence states its margin"
    low, high = t_interval(values, 0.9) or (statistic, statistic)
    margin, shown = (math.log1p(claim.margin), math.exp) if claim.by == "ratio" else (claim.margin, float)
    holds = max(-low, high) <= margin + _rounding(margin)
    return _verdict(claim, holds, shown(statistic), (shown(low), shown(high)) if len(values) > 1 else None, len(values))


def _within(claim: Claim, statistic: float) -> bool:
    if claim.value is None:
        low = -math.inf if claim.at_least is None else claim.at_least
        high = math.inf if claim.at_most is None else claim.at_most
        return low - _rounding(low) <= statistic <= high + _rounding(high)
    return abs(statistic - claim.value) <= (claim.tolerance or 0.0) + _rounding(claim.value)


def _rounding(bound: float) -> float:
    """A few units in the last place: 0.96 is within 0.01 of 0.95, although its difference in binary is not."""
    return 4 * math.ulp(bound) if math.isfinite(bound) else 0.0


def _judge_summary(claim: Claim, row: Mapping[str, Any], deterministic: bool) -> Verdict:
    if claim.kind not in ("value", "bound"):
        return Verdict(claim, "not run", "a metric over seeds takes value and bound claims only")
    if claim.than is not None:
        return Verdict(claim, "not run", "a metric over seeds is not compared with another model's")
    measured, n = float(row["metrics"][claim.metric]), int(row["n"])
    if n < MIN_SEEDS and not deterministic:
        return Verdict(claim, "not run", f"too few seeds: {n} of at least {MIN_SEEDS}", measured, None, n)
    return _verdict(claim, _within(claim, measured), measured, None, n)


def _verdict(claim: Claim, holds: bool, statistic: float, interval: tuple[float, float] | None, n: int) -> Verdict:
    return Verdict(claim, "reproduced" if holds else "not reproduced", "", statistic, interval, n)


def average(values: Sequence[float], statistic: str = "mean") -> float:
    """The mean or the median, rounded once."""
    return statistics.mean(values) if statistic == "mean" else statistics.median(values)


def t_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """The t-interval of the mean that covers it with probability `level`; none for a single value."""
    from scipy.special import stdtrit

    n = len(values)
    if n < 2:
        return None
    mean = average(values)
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = float(stdtrit(n - 1, (1 + level) / 2)) * deviation / math.sqrt(n)
    return mean - half, mean + half

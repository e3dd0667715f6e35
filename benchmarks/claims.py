"""Claims: what a paper states, tested on Results.

A claim is about the mean or the median over seeds. It is *reproduced* when that statistic lies within the stated
bounds over at least three seeds (one, where the benchmark is deterministic); `better` also needs its paired 95 %
t-interval to exclude no effect. Otherwise it is *not reproduced*, or *not run* with the reason.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from benchmarks.problems import Problem, unknown_key, wrong_type

MIN_SEEDS = 3
EVIDENCE = ("published", "derived", "measured")
COMMON = {"kind": str, "model": str, "metric": str, "evidence": str, "source": str, "statistic": str, "at": dict}
#: What each kind takes beside the common keys: name → (type, required).
KINDS: dict[str, dict[str, tuple[type, bool]]] = {
    "value": {"value": (float, True), "tolerance": (float, True)},
    "bound": {"at_least": (float, False), "at_most": (float, False)},
    "slope": {"over": (str, True), "value": (float, True), "tolerance": (float, True)},
    "monotone": {"over": (str, True), "direction": (str, True)},
    "better": {"than": (str, True), "goal": (str, True), "margin": (float, False), "by": (str, False)},
}
CHOICES = {
    "evidence": EVIDENCE,
    "statistic": ("mean", "median"),
    "direction": ("increasing", "decreasing"),
    "goal": ("higher", "lower"),
    "by": ("difference", "ratio"),
}


@dataclass(frozen=True)
class Claim:
    """A statement about a metric of a model, with its kind, bounds and evidence."""

    kind: str
    model: str
    metric: str
    evidence: str
    source: str
    statistic: str = "mean"
    at: Mapping[str, Any] = field(default_factory=dict)
    value: float | None = None
    tolerance: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    over: str | None = None
    direction: str | None = None
    than: str | None = None
    goal: str | None = None
    margin: float | None = None
    by: str = "difference"

    @property
    def stated(self) -> str:
        """The statement's right-hand side as a reader sees it."""
        if self.kind == "value":
            return f"{self.value:g} ± {self.tolerance:g}"
        if self.kind == "slope":
            return f"slope {self.value:g} ± {self.tolerance:g}"
        if self.kind == "monotone":
            return f"{self.direction} in {str(self.over).rpartition('.')[2]}"
        if self.kind == "better":
            margin = f" by {self.margin:g}" if self.margin else ""
            return f"{self.goal} than {self.than}{margin}{' ×' if self.by == 'ratio' else ''}"
        low = [f"≥ {self.at_least:g}"] if self.at_least is not None else []
        return ", ".join(low + ([f"≤ {self.at_most:g}"] if self.at_most is not None else []))


@dataclass(frozen=True)
class Verdict:
    """A claim's outcome: the statistic, its 95 % interval over seeds, and what follows."""

    claim: Claim
    verdict: Literal["reproduced", "not reproduced", "not run"]
    reason: str = ""
    mean: float | None = None
    interval: tuple[float, float] | None = None
    n: int = 0

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
        }


def read_claims(file: str, items: Any, models: Mapping[str, Any], problems: list[Problem]) -> tuple[Claim, ...]:
    """The claims of a benchmark; what is wrong with them is appended to the problems."""
    claims = []
    for position, item in enumerate(items):
        before = len(problems)
        _check_claim(file, f"claims[{position}]", item, models, problems)
        if len(problems) == before:
            numbers = {f.name for f in fields(Claim) if "float" in str(f.type)}
            claims.append(Claim(**{k: float(v) if k in numbers else v for k, v in item.items()}))
    return tuple(claims)


def _check_claim(file: str, entry: str, item: Any, models: Mapping[str, Any], problems: list[Problem]) -> None:
    if not isinstance(item, dict) or item.get("kind") not in KINDS:
        kind = item.get("kind") if isinstance(item, dict) else item
        problems.append(Problem(file, f"{entry}.kind", f"expected one of {', '.join(KINDS)}, got {kind!r}"))
        return
    own = KINDS[item["kind"]]
    types = COMMON | {name: kind for name, (kind, _) in own.items()}
    needed = ["model", "metric", "evidence", "source", *(name for name, (_, required) in own.items() if required)]
    problems += [Problem(file, f"{entry}.{k}", f"missing: a {item['kind']!r} claim has it") for k in needed if k not in item]
    for key, value in item.items():
        place = f"{entry}.{key}"
        if key not in types:
            problems.append(unknown_key(file, entry, key, list(types)))
        elif types[key] is float and (isinstance(value, bool) or not isinstance(value, int | float)):
            problems.append(wrong_type(file, place, value, "a number"))
        elif types[key] is not float and not isinstance(value, types[key]):
            problems.append(wrong_type(file, place, value, "a text" if types[key] is str else "a mapping"))
        elif key in CHOICES and value not in CHOICES[key]:
            problems.append(Problem(file, place, f"expected one of {', '.join(CHOICES[key])}, got {value!r}"))
        elif key in ("model", "than") and value not in models:
            problems.append(Problem(file, place, f"no model {value!r} here; the labels are {', '.join(models)}"))
    if item["kind"] == "bound" and not {"at_least", "at_most"} & set(item):
        problems.append(Problem(file, entry, "a bound needs at_least or at_most"))
    for label in (item.get("model"), item.get("than")):
        if label in models:
            _check_sweep(file, entry, item, models[label].get("sweep") or {}, problems)


def _check_sweep(file: str, entry: str, item: Any, sweep: Mapping[str, Any], problems: list[Problem]) -> None:
    over, at = item.get("over"), item.get("at", {})
    if "over" in item and over not in sweep:
        message = f"the model's sweep has no {over!r}; it has {', '.join(sweep) or 'no keys'}"
        problems.append(Problem(file, f"{entry}.over", message))
    for key in sweep:
        if key != over and key not in at:
            problems.append(Problem(file, f"{entry}.at", f"the model is swept over {key}: say at which value, {{{key}: …}}"))
        elif key != over and at[key] not in sweep[key]:
            problems.append(Problem(file, f"{entry}.at.{key}", f"{at[key]!r} is not in the sweep {sweep[key]!r}"))


Rows = Sequence[Mapping[str, Any]]
Samples = dict[int, float]


def judge(
    claim: Claim, rows: Rows, summaries: Rows = (), *, deterministic: bool = False, changed: Sequence[str] = ()
) -> Verdict:
    """The verdict on a claim from the rows of its benchmark's Results.

    A row has model, point, seed, status, error and metrics; a summary row has model, point, metrics and n.
    `changed` lists settings that differ from the benchmark's own: claims then are about another protocol.
    """
    if changed:
        return Verdict(claim, "not run", f"settings changed: {', '.join(changed)}")
    concerned = [row for row in rows if row["model"] in (claim.model, claim.than) and _at(claim, row)]
    if reason := _unfinished(concerned):
        return Verdict(claim, "not run", reason)
    if extra := [row for row in summaries if row["model"] == claim.model and _at(claim, row) and claim.metric in row["metrics"]]:
        return _judge_summary(claim, extra, deterministic)
    logged = sorted({name for row in concerned for name in row["metrics"]})
    if any(claim.metric not in row["metrics"] for row in concerned) or not concerned:
        return Verdict(claim, "not run", f"no metric {claim.metric!r}; logged were {', '.join(logged) or 'none'}")
    try:
        samples = _samples(claim, concerned)
    except ValueError as error:
        return Verdict(claim, "not reproduced", str(error))
    needed = 1 if deterministic else MIN_SEEDS
    verdict = _test(claim, samples, concerned, deterministic)
    if len(samples) < needed:
        reason = f"too few seeds: {len(samples)} of at least {needed}"
        return Verdict(claim, "not run", reason, verdict.mean, verdict.interval, verdict.n)
    return verdict


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
        key = row["point"][claim.over] if claim.over else row["model"]
        by_seed.setdefault(row["seed"], {})[key] = row["metrics"][claim.metric]
    if claim.kind == "slope":
        return {seed: _log_log_slope(curve) for seed, curve in by_seed.items()}
    if claim.kind == "better":
        return {seed: _advantage(claim, pair) for seed, pair in by_seed.items() if len(pair) == 2}
    if claim.kind == "monotone":
        sign = 1.0 if claim.direction == "increasing" else -1.0
        return {seed: min(_steps(curve, sign)) for seed, curve in by_seed.items()}
    return {seed: values[claim.model] for seed, values in by_seed.items()}


def _log_log_slope(curve: Mapping[Any, float]) -> float:
    if any(x <= 0 or y <= 0 for x, y in curve.items()):
        raise ValueError("a log-log slope needs positive values")
    logs = [(math.log(x), math.log(y)) for x, y in curve.items()]
    mean_x, mean_y = (sum(column) / len(logs) for column in zip(*logs, strict=True))
    return sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum((x - mean_x) ** 2 for x, _ in logs)


def _steps(curve: Mapping[Any, float], sign: float) -> list[float]:
    ordered = [curve[x] for x in sorted(curve)]
    return [sign * (b - a) for a, b in zip(ordered, ordered[1:], strict=False)]


def _advantage(claim: Claim, pair: Mapping[str, float]) -> float:
    """By how much the model is better: a difference, or the logarithm of a ratio."""
    ours, theirs = pair[claim.model], pair[str(claim.than)]
    if claim.goal == "lower":
        ours, theirs = theirs, ours
    if claim.by == "difference":
        return ours - theirs
    if ours <= 0 or theirs <= 0:
        raise ValueError("a ratio needs positive values")
    return math.log(ours / theirs)


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
    return _verdict(claim, _within(claim, statistic), statistic, interval, len(values))


def _within(claim: Claim, statistic: float) -> bool:
    if claim.kind == "bound":
        low = -math.inf if claim.at_least is None else claim.at_least
        return low <= statistic <= (math.inf if claim.at_most is None else claim.at_most)
    assert claim.value is not None and claim.tolerance is not None
    return abs(statistic - claim.value) <= claim.tolerance


def _judge_summary(claim: Claim, extra: Rows, deterministic: bool) -> Verdict:
    if claim.kind not in ("value", "bound"):
        return Verdict(claim, "not run", "a metric over seeds takes value and bound claims only")
    measured, n = float(extra[0]["metrics"][claim.metric]), int(extra[0]["n"])
    if n < MIN_SEEDS and not deterministic:
        return Verdict(claim, "not run", f"too few seeds: {n} of at least {MIN_SEEDS}", measured, None, n)
    return _verdict(claim, _within(claim, measured), measured, None, n)


def _verdict(
    claim: Claim, holds: bool, statistic: float, interval: tuple[float, float] | None, n: int
) -> Verdict:
    return Verdict(claim, "reproduced" if holds else "not reproduced", "", statistic, interval, n)


def average(values: Sequence[float], statistic: str = "mean") -> float:
    """The mean or the median, rounded once."""
    return statistics.mean(values) if statistic == "mean" else statistics.median(values)


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % t-interval of the mean; none for a single value."""
    from scipy.special import stdtrit

    n = len(values)
    if n < 2:
        return None
    mean = average(values)
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = float(stdtrit(n - 1, 0.975)) * deviation / math.sqrt(n)
    return mean - half, mean + half

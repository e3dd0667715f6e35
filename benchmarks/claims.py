"""Claims: what a paper states about a metric, and on which evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from benchmarks.problems import Problem, unknown_key, wrong_type

EVIDENCE = ("published", "stated", "derived", "measured")
COMMON = {"kind": str, "model": str, "metric": str, "evidence": str, "source": str, "statistic": str, "at": dict}
#: A difference to another model's metric, or a ratio of both, paired by seed.
AGAINST: dict[str, tuple[type, bool]] = {"than": (str, False), "by": (str, False)}
BOUNDS: dict[str, tuple[type, bool]] = {"at_least": (float, False), "at_most": (float, False)}
#: What each kind takes beside the common keys: name → (type, required).
KINDS: dict[str, dict[str, tuple[type, bool]]] = {
    "value": {"value": (float, True), "tolerance": (float, True), **AGAINST},
    "bound": {**BOUNDS, **AGAINST},
    "slope": {"over": (str, True), "value": (float, False), "tolerance": (float, False), **BOUNDS},
    "monotone": {"over": (str, True), "direction": (str, True)},
    "better": {"than": (str, True), "goal": (str, True), "margin": (float, False), "by": (str, False)},
    "equivalent": {"than": (str, True), "margin": (float, True), "by": (str, False)},
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
        against = f" ({'ratio' if self.by == 'ratio' else 'difference'} to {self.than})" if self.than else ""
        if self.kind == "value":
            return f"{self.value:g} ± {self.tolerance:g}{against}"
        if self.kind == "slope" and self.value is not None:
            return f"slope {self.value:g} ± {self.tolerance:g}"
        if self.kind == "monotone":
            return f"{self.direction} in {str(self.over).rpartition('.')[2]}"
        if self.kind == "better":
            margin = f" by {self.margin:g}" if self.margin else ""
            return f"{self.goal} than {self.than}{margin}{' ×' if self.by == 'ratio' else ''}"
        if self.kind == "equivalent":
            margin = f"a factor {1 + (self.margin or 0.0):g}" if self.by == "ratio" else f"{self.margin:g}"
            return f"equivalent to {self.than} within {margin} (90 % interval)"
        low = [f"≥ {self.at_least:g}"] if self.at_least is not None else []
        bounds = ", ".join(low + ([f"≤ {self.at_most:g}"] if self.at_most is not None else []))
        return f"slope {bounds}" if self.kind == "slope" else bounds + against


def read_claims(file: str, items: Any, models: Mapping[str, Any], problems: list[Problem]) -> tuple[Claim, ...]:
    """The claims of a benchmark; what is wrong with them is appended to the problems."""
    claims = []
    for position, item in enumerate(items):
        before = len(problems)
        _check_claim(file, f"claims[{position}]", item, models, problems)
        if len(problems) == before:
            numbers = {f.name for f in fields(Claim) if "float" in str(f.type)}
            values: dict[str, Any] = {k: float(v) if k in numbers else v for k, v in item.items()}
            claims.append(Claim(**values))
    return tuple(claims)


def _check_claim(file: str, entry: str, item: Any, models: Mapping[str, Any], problems: list[Problem]) -> None:
    if not isinstance(item, dict) or not isinstance(item.get("kind"), str) or item["kind"] not in KINDS:
        kind = item.get("kind") if isinstance(item, dict) else item
        problems.append(Problem(file, f"{entry}.kind", f"expected one of {', '.join(KINDS)}, got {kind!r}"))
        return
    own = KINDS[item["kind"]]
    types = COMMON | {name: kind for name, (kind, _) in own.items()}
    needed = ["model", "metric", "evidence", "source", *(name for name, (_, required) in own.items() if required)]
    problems += [
        Problem(file, f"{entry}.{k}", f"missing: claims of kind {item['kind']!r} have it")
        for k in needed
        if k not in item
    ]
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
    _check_relations(file, entry, item, problems)
    for label in (item.get("model"), item.get("than")):
        if isinstance(label, str) and label in models:
            sweep = models[label]["sweep"]
            _check_sweep(file, entry, item, sweep, problems)
            if label == item["model"] and (bad := [key for key in item.get("at", {}) if key not in sweep]):
                problems.append(unknown_key(file, f"{entry}.at", bad[0], list(sweep), "sweep key"))


def _check_relations(file: str, entry: str, item: Any, problems: list[Problem]) -> None:
    for key in ("tolerance", "margin"):
        if isinstance(item.get(key), int | float) and item[key] < 0:
            problems.append(Problem(file, f"{entry}.{key}", f"expected at least 0, got {item[key]}"))
    if item["kind"] == "equivalent" and item.get("margin") == 0:
        problems.append(Problem(file, f"{entry}.margin", "expected more than 0: no interval is within nothing"))
    if "than" in item and item["than"] == item.get("model"):
        problems.append(
            Problem(file, f"{entry}.than", f"{item.get('than')!r} is compared with itself: name another model")
        )
    if item["kind"] not in ("better", "equivalent") and "by" in item and "than" not in item:
        problems.append(Problem(file, f"{entry}.by", "a difference or a ratio needs than: the model to compare with"))
    if item["kind"] == "bound" and not {"at_least", "at_most"} & set(item):
        problems.append(Problem(file, entry, "a bound needs at_least or at_most"))
    if item["kind"] == "slope":
        stated, bounded = {"value", "tolerance"} & set(item), {"at_least", "at_most"} & set(item)
        if (len(stated), bool(bounded)) not in ((2, False), (0, True)):
            problems.append(Problem(file, entry, "a slope needs value and tolerance, or else at_least or at_most"))


def _check_sweep(file: str, entry: str, item: Any, sweep: Mapping[str, Any], problems: list[Problem]) -> None:
    over, at = str(item.get("over", "")), item.get("at", {})
    if "over" in item and over not in sweep:
        message = f"the model's sweep has no {over!r}; it has {', '.join(sweep) or 'no keys'}"
        problems.append(Problem(file, f"{entry}.over", message))
    numbers = {value for value in sweep.get(over, ()) if isinstance(value, int | float)}
    if over in sweep and (len(numbers) < 2 or len(numbers) < len(sweep[over])):
        message = f"a {item['kind']} needs at least two different numbers in the sweep, got {sweep[over]!r}"
        problems.append(Problem(file, f"{entry}.over", message))
    for key in sweep:
        if key != over and key not in at:
            problems.append(
                Problem(file, f"{entry}.at", f"the model is swept over {key}: say at which value, {{{key}: …}}")
            )
        elif key != over and at[key] not in sweep[key]:
            problems.append(Problem(file, f"{entry}.at.{key}", f"{at[key]!r} is not in the sweep {sweep[key]!r}"))

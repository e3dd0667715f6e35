"""The rules of verdicts: each kind of claim with a case on either side of its bound."""

from __future__ import annotations

import math
from typing import Any

import pytest
from scipy import stats

from benchmarks.claims import Claim
from benchmarks.verdicts import average, judge, t_interval

DEPTH = "model.init_args.depth"


def row(value: float, seed: int = 0, model: str = "a", **point: Any) -> dict[str, Any]:
    named = {DEPTH: point["depth"]} if point else {}
    metrics = {"test/x": value}
    return {"model": model, "point": named, "seed": seed, "status": "finished", "error": "", "metrics": metrics}


def rows(*values: float, model: str = "a") -> list[dict[str, Any]]:
    return [row(value, seed, model) for seed, value in enumerate(values)]


def claim(kind: str, **bounds: Any) -> Claim:
    return Claim(kind, "a", "test/x", "derived", "a source", **bounds)


def verdict(claim: Claim, given: list[dict[str, Any]], **options: Any) -> str:
    return judge(claim, given, **options).verdict


@pytest.mark.parametrize(("value", "expected"), [(1.1, "reproduced"), (1.1 + 1e-9, "not reproduced")])
def test_value_holds_up_to_its_tolerance(value: float, expected: str) -> None:
    stated = claim("value", value=1.0, tolerance=0.1)
    assert verdict(stated, rows(value, value, value)) == expected


@pytest.mark.parametrize(
    ("bounds", "value", "expected"),
    [
        ({"at_least": 0.9}, 0.9, "reproduced"),
        ({"at_least": 0.9}, 0.899, "not reproduced"),
        ({"at_most": 0.1}, 0.1, "reproduced"),
        ({"at_most": 0.1}, 0.101, "not reproduced"),
        ({"at_least": 0.0, "at_most": 0.1}, -0.001, "not reproduced"),
    ],
)
def test_bound(bounds: dict[str, float], value: float, expected: str) -> None:
    assert verdict(claim("bound", **bounds), rows(value, value, value)) == expected


@pytest.mark.parametrize(("by", "expected"), [("ratio", 1.5), ("difference", 1.0)])
def test_value_beside_another_model_is_paired_by_seed(by: str, expected: float) -> None:
    """3 beside 2 in every seed: a level of the seed that scales a ratio, or shifts a difference, leaves it alone."""
    levels = (1.0, 10.0, 100.0)
    scaled = [(3 * x, 2 * x) if by == "ratio" else (3 + x, 2 + x) for x in levels]
    given = rows(*(a for a, _ in scaled)) + rows(*(b for _, b in scaled), model="b")
    made = judge(claim("value", than="b", by=by, value=expected, tolerance=1e-9), given)
    assert (made.verdict, made.n) == ("reproduced", 3)
    assert made.interval == pytest.approx((expected, expected))
    low = claim("bound", than="b", by=by, at_most=expected - 1e-6)
    assert verdict(low, given) == "not reproduced"
    assert low.stated == f"≤ {expected - 1e-6:g} ({by} to b)"


def test_a_metric_over_seeds_is_not_compared_in_silence() -> None:
    given = rows(1.0, 1.0, 1.0) + rows(5.0, 5.0, 5.0, model="b")
    summary = [{"model": "a", "point": {}, "n": 3, "metrics": {"test/x": 1.0}}]
    made = judge(claim("value", than="b", by="ratio", value=1.0, tolerance=0.1), given, summary)
    assert (made.verdict, made.reason) == ("not run", "a metric over seeds is not compared with another model's")


def test_there_is_no_ratio_to_zero() -> None:
    given = rows(1.0, 1.0, 1.0) + rows(0.0, 1.0, 1.0, model="b")
    made = judge(claim("value", than="b", by="ratio", value=1.0, tolerance=9.0), given)
    assert (made.verdict, made.reason) == ("not run", "there is no ratio to b, which has a zero")


@pytest.mark.parametrize(("exponent", "expected"), [(-2.0, "reproduced"), (-1.85, "not reproduced")])
def test_slope_is_the_log_log_exponent(exponent: float, expected: str) -> None:
    curve = [row((1 + seed) * depth**exponent, seed, depth=depth) for seed in range(3) for depth in (8, 16, 64)]
    made = judge(claim("slope", over=DEPTH, value=-2.0, tolerance=0.1), curve)
    assert made.verdict == expected
    assert made.mean == pytest.approx(exponent, abs=1e-12)


@pytest.mark.parametrize(
    ("bounds", "shown", "expected"),
    [
        ({"at_most": -0.45}, "slope ≤ -0.45", "reproduced"),
        ({"at_most": -0.55}, "slope ≤ -0.55", "not reproduced"),
        ({"at_least": -0.5}, "slope ≥ -0.5", "reproduced"),  # rounding alone does not break it
        ({"at_least": -0.3}, "slope ≥ -0.3", "not reproduced"),
        ({"at_least": -0.6, "at_most": -0.4}, "slope ≥ -0.6, ≤ -0.4", "reproduced"),
    ],
)
def test_a_slope_may_have_bounds_alone(bounds: dict[str, float], shown: str, expected: str) -> None:
    curve = [row((1 + seed) * depth**-0.5, seed, depth=depth) for seed in range(3) for depth in (8, 16, 64)]
    made = judge(claim("slope", over=DEPTH, **bounds), curve)
    assert (made.verdict, made.claim.stated) == (expected, shown)
    assert made.mean == pytest.approx(-0.5, abs=1e-12)
    assert made.row("a/b")["value"] == next(iter(bounds.values()))


def test_slope_of_noise_agrees_with_least_squares() -> None:
    curve = {8: 3.0, 16: 1.1, 32: 1.4, 64: 0.2}
    given = [row(y, seed, depth=x) for seed in range(3) for x, y in curve.items()]
    expected = stats.linregress([math.log(x) for x in curve], [math.log(y) for y in curve.values()]).slope
    assert judge(claim("slope", over=DEPTH, value=0.0, tolerance=9.0), given).mean == pytest.approx(expected, abs=1e-12)


def test_slope_of_values_without_a_logarithm_is_not_reproduced() -> None:
    curve = [row(depth - 8, seed, depth=depth) for seed in range(3) for depth in (8, 16)]
    made = judge(claim("slope", over=DEPTH, value=1.0, tolerance=9.0), curve)
    assert (made.verdict, made.reason) == ("not reproduced", "a log-log slope needs positive values")


@pytest.mark.parametrize(
    ("means", "direction", "expected"),
    [
        ((1.0, 2.0, 3.0), "increasing", "reproduced"),
        ((1.0, 2.0, 2.0), "increasing", "not reproduced"),
        ((3.0, 2.0, 1.0), "decreasing", "reproduced"),
        ((3.0, 2.0, 2.5), "decreasing", "not reproduced"),
    ],
)
def test_monotone_is_strict_in_the_average_over_seeds(means: tuple[float, ...], direction: str, expected: str) -> None:
    wobble = (-5.0, 0.0, 5.0)  # single seeds may go either way
    curve = [row(m + wobble[(s + i) % 3], s, depth=2**i) for s in range(3) for i, m in enumerate(means)]
    assert verdict(claim("monotone", over=DEPTH, direction=direction), curve) == expected


def pairs(differences: tuple[float, ...], model: str = "a") -> list[dict[str, Any]]:
    others = (1.0, 2.0, 4.0)[: len(differences)]
    ours = [other + difference for other, difference in zip(others, differences, strict=True)]
    return rows(*ours) + rows(*others, model="b")


@pytest.mark.parametrize(
    ("differences", "margin", "expected"),
    [
        ((0.5, 0.51, 0.49), 0.4, "reproduced"),
        ((0.5, 0.51, 0.49), 0.6, "not reproduced"),  # significant, but less than the margin
        ((0.1, 2.0, 0.2), 0.0, "not reproduced"),  # better on average, but the interval holds zero
        ((-0.5, -0.51, -0.49), 0.0, "not reproduced"),
    ],
)
def test_better_needs_its_margin_and_a_paired_interval_without_zero(
    differences: tuple[float, ...], margin: float, expected: str
) -> None:
    stated = claim("better", than="b", goal="higher", margin=margin)
    assert verdict(stated, pairs(differences)) == expected


def test_better_is_paired_by_seed() -> None:
    stated = claim("better", than="b", goal="higher")
    given = pairs((0.5, 0.51, 0.49))
    assert verdict(stated, given) == "reproduced"
    shuffled = [r | {"seed": (r["seed"] + 1) % 3} if r["model"] == "b" else r for r in given]
    assert verdict(stated, shuffled) == "not reproduced"


@pytest.mark.parametrize(("margin", "expected"), [(1.9, "reproduced"), (2.1, "not reproduced")])
def test_better_by_a_ratio_where_lower_is_better(margin: float, expected: str) -> None:
    given = rows(0.5, 1.0, 2.0) + rows(1.0, 2.01, 3.99, model="b")
    made = judge(claim("better", than="b", goal="lower", by="ratio", margin=margin), given)
    assert made.verdict == expected
    assert made.mean == pytest.approx((2.0 * 2.01 * 1.995) ** (1 / 3))


def half_width(differences: tuple[float, ...]) -> float:
    """By how far the 90 % t-interval of the mean reaches to either side, according to scipy."""
    low, high = stats.t.interval(0.9, len(differences) - 1, loc=0.0, scale=stats.sem(differences))
    return float(high - low) / 2


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("beyond", "expected"), [(1e-9, "reproduced"), (-1e-9, "not reproduced")])
def test_equivalent_needs_the_whole_90_percent_interval_within_its_margin(
    sign: float, beyond: float, expected: str
) -> None:
    differences = (0.5 * sign, 0.51 * sign, 0.49 * sign)
    end = 0.5 + half_width(differences)
    made = judge(claim("equivalent", than="b", margin=end + beyond), pairs(differences))
    assert made.verdict == expected
    assert made.interval is not None
    assert max(map(abs, made.interval)) == pytest.approx(end, rel=1e-12)


def test_noise_makes_nothing_equivalent() -> None:
    """No difference on average, between seeds that differ by more than the margin: undecided, and so not reproduced."""
    made = judge(claim("equivalent", than="b", margin=0.5), pairs((0.4, -0.4, 0.0)))
    assert made.verdict == "not reproduced"
    assert made.mean == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("margin", "expected"), [(0.03, "reproduced"), (0.01, "not reproduced")])
def test_equivalent_by_a_ratio_is_the_same_either_way_round(turned: bool, margin: float, expected: str) -> None:
    """Ratios of 1.018, 1.020 and 1.022: their logarithms reach from log 1.0166 to log 1.0234."""
    ours, theirs = (1.018, 10.20, 102.2), (1.0, 10.0, 100.0)
    ours, theirs = (theirs, ours) if turned else (ours, theirs)
    stated = claim("equivalent", than="b", by="ratio", margin=margin)
    made = judge(stated, rows(*ours) + rows(*theirs, model="b"))
    assert made.verdict == expected
    assert made.mean == pytest.approx(1.02 ** (-1 if turned else 1), rel=1e-5)
    assert stated.stated == f"equivalent to b within a factor {1 + margin:g} (90 % interval)"


@pytest.mark.parametrize(("seeds", "expected"), [(2, "not run"), (3, "reproduced")])
def test_three_seeds_are_needed(seeds: int, expected: str) -> None:
    assert verdict(claim("bound", at_least=0.0), rows(*[1.0] * seeds)) == expected


def test_one_is_enough_where_the_benchmark_is_deterministic() -> None:
    stated = claim("better", than="b", goal="higher")
    assert verdict(stated, pairs((0.5,))) == "not run"
    assert verdict(stated, pairs((0.5,)), deterministic=True) == "reproduced"
    same = claim("equivalent", than="b", margin=0.4)
    assert verdict(same, pairs((0.5,)), deterministic=True) == "not reproduced"
    assert verdict(same, pairs((-0.4,)), deterministic=True) == "reproduced"


@pytest.mark.parametrize(("statistic", "expected"), [("mean", "not reproduced"), ("median", "reproduced")])
def test_the_statistic_is_the_one_asked_for(statistic: str, expected: str) -> None:
    assert verdict(claim("bound", at_most=1.0, statistic=statistic), rows(1.0, 1.0, 100.0)) == expected


@pytest.mark.parametrize("status", ["failed", "not run"])
def test_no_verdict_on_the_survivors(status: str) -> None:
    given = rows(1.0, 1.0, 1.0, 1.0)
    given[2] |= {"status": status, "error": "why", "metrics": {}}
    made = judge(claim("bound", at_least=0.0), given)
    assert (made.verdict, made.reason) == ("not run", f"1 of 4 Runs {status}: why")


def test_no_verdict_under_changed_settings_or_on_a_metric_that_nobody_logged() -> None:
    stated = claim("bound", at_least=0.0)
    assert judge(stated, rows(1, 1, 1), changed=["trainer.max_steps=1"]).reason.endswith("trainer.max_steps=1")
    other = Claim("bound", "a", "test/y", "derived", "a source", at_least=0.0)
    assert judge(other, rows(1, 1, 1)).reason == "no metric 'test/y'; logged were test/x"


def test_at_picks_a_point_of_the_sweep_and_an_unswept_baseline() -> None:
    given = [row(depth, seed, depth=depth) for seed in range(3) for depth in (1, 2)]
    assert judge(claim("value", value=2, tolerance=0, at={DEPTH: 2}), given).verdict == "reproduced"
    stated = claim("better", than="b", goal="higher", at={DEPTH: 2}, margin=0.9)
    assert verdict(stated, given + rows(1.0, 1.01, 0.99, model="b")) == "reproduced"


def test_a_metric_over_seeds_comes_from_the_summary() -> None:
    summary = [{"model": "a", "point": {}, "n": 3, "metrics": {"summary/spread": 0.25}}]
    stated = Claim("value", "a", "summary/spread", "derived", "a source", value=0.25, tolerance=0.0)
    assert judge(stated, rows(1, 2, 3), summary).verdict == "reproduced"
    assert judge(stated, rows(1, 2, 3), [summary[0] | {"n": 2}]).verdict == "not run"


def test_intervals_are_students() -> None:
    values = [0.3, 1.7, 0.9, 1.1]
    low, high = stats.t.interval(0.95, 3, loc=average(values), scale=stats.sem(values))
    assert t_interval(values) == pytest.approx((low, high), rel=1e-12)
    low, high = stats.t.interval(0.9, 3, loc=average(values), scale=stats.sem(values))
    assert t_interval(values, 0.9) == pytest.approx((low, high), rel=1e-12)
    assert t_interval([1.0]) is None
    assert average([3.0, 1.0, 2.0, 10.0], "median") == 2.5

"""Comparisons: the numbers against scipy, and what becomes of every Result."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from benchmarks import reference, store
from benchmarks.compare import main
from benchmarks.store import Result
from tests.benchmarks.conftest import Invoke

ROOT = Path(__file__).parents[2]
WIDE = {0: 1.0, 1: 2.5, 2: 3.1}
NARROW = {0: 1.4, 1: 2.8, 2: 3.7, 3: 9.0}
OURS = ("--no-reference",)


def put(root: Path, model: str, seed: int, metrics: dict[str, float], **changes: Any) -> Path:
    """Stores a Result as a Run would have left it; `config` are its settings, `id` and the rest its fields."""
    config = changes.pop("config", {"trainer": {"max_steps": 10}})
    named = json.dumps(config, sort_keys=True)
    about: dict[str, Any] = {
        "id": f"{model}-{seed}-{zlib.crc32(named.encode())}",
        "benchmark": "family/own",
        "status": "finished",
    }
    about |= {"params": 100, "fit_seconds": 2.0, "device": "cpu", "started": "2026-01-01T00:00:00", **changes}
    result = Result(model=model, seed=seed, metrics=metrics, **about)
    folder = root / result.benchmark / model / result.id
    folder.mkdir(parents=True, exist_ok=True)
    store.write(result, folder)
    data = {"class_path": "own.Data", "init_args": {"seed": seed}}
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": data, **config}))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of two models, whose metrics are x and, five times as large, y."""
    for model, samples in {"wide": WIDE, "narrow": NARROW}.items():
        for seed, value in samples.items():
            put(tmp_path / "ours", model, seed, {"test/x": value, "test/y": 5 * value, "val/x": -value})
    return tmp_path / "ours"


@pytest.fixture
def compared(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command and returns its JSON answer, a benchmark each."""

    def run(*arguments: Path | str) -> list[dict[str, Any]]:
        assert main([*map(str, arguments), "--format", "json"]) == 0
        found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
        return found

    return run


def names(one: dict[str, Any]) -> list[str]:
    return [row["model"] for row in one["rows"]]


def student(values: list[float]) -> tuple[float, float, float]:
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    return float(np.mean(values)), float(low), float(high)


def test_means_and_intervals_are_students(root: Path, compared: Any) -> None:
    (one,) = compared(root, *OURS)
    assert names(one) == ["narrow", "wide"]
    for row, samples in zip(one["rows"], (NARROW, WIDE), strict=True):
        for metric, scale in (("test/x", 1), ("test/y", 5)):
            found = row["metrics"][metric]
            expected = student([scale * value for value in samples.values()])
            assert (found["mean"], found["low"], found["high"]) == pytest.approx(expected, rel=1e-12)
            assert found["n"] == len(samples)


def test_differences_are_paired_by_the_seeds_that_both_have(root: Path, compared: Any) -> None:
    (one,) = compared(root, *OURS, "--against", "narrow")
    found = one["rows"][1]["differences"]["test/x"]
    deltas = [WIDE[seed] - NARROW[seed] for seed in WIDE]
    interval = stats.ttest_rel(list(WIDE.values()), [NARROW[seed] for seed in WIDE]).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high), rel=1e-12)
    assert (found["mean"], found["n"]) == (pytest.approx(np.mean(deltas)), 3)
    assert one["rows"][0]["differences"] == {}


def test_a_difference_is_marked_where_its_interval_excludes_none(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(root), *OURS, "--metric", "x", "--format", "markdown"]) == 0
    assert "| wide | 3 | -0.4333 ± 0.38 * |" in capsys.readouterr().out
    put(root, "wide", 3, {"test/x": 20.0})
    assert main([str(root), *OURS, "--metric", "x", "--format", "markdown"]) == 0
    printed = capsys.readouterr().out
    assert "*" not in printed.partition("Differences")[2].replace("**", "")


@pytest.mark.parametrize(("seed", "text"), [(0, "(one common seed)"), (7, "no common seed")])
def test_too_few_common_seeds_are_said(
    tmp_path: Path, seed: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "a", 0, {"test/x": 1.0})
    put(tmp_path, "b", seed, {"test/x": 2.0})
    assert main([str(tmp_path), *OURS]) == 0
    assert text in capsys.readouterr().out


def test_other_settings_are_another_row_that_says_which(root: Path, compared: Any) -> None:
    for seed in range(3):
        put(root, "wide", seed, {"test/x": 0.0}, config={"trainer": {"max_steps": 99}, "fit": True})
    (one,) = compared(root, *OURS)
    assert names(one) == ["narrow", "wide", "wide"]
    changed = [row["settings"] for row in one["rows"]]
    assert changed[0] == {}
    assert {"trainer.max_steps": 99, "fit": True} in changed
    assert {"trainer.max_steps": 10, "fit": "–"} in changed
    (one,) = compared(root, *OURS, "--against", "wide (fit=True, trainer.max_steps=99)")
    assert one["against"] == "wide (fit=True, trainer.max_steps=99)"


def test_sweep_points_are_rows_and_no_other_settings(tmp_path: Path, compared: Any) -> None:
    for depth in (16, 8):
        config = {"model": {"init_args": {"depth": depth}}}
        put(tmp_path, "net", 0, {"test/x": 1.0}, config=config, point={"model.init_args.depth": depth})
    (one,) = compared(tmp_path, *OURS)
    assert [row["point"]["model.init_args.depth"] for row in one["rows"]] == [8, 16]
    assert [row["settings"] for row in one["rows"]] == [{}, {}]
    assert one["against"] == "net depth=8"


def test_of_the_same_settings_and_seed_the_newest_counts(root: Path, compared: Any) -> None:
    put(root, "wide", 0, {"test/x": 7.0}, id="newer", started="2026-02-01T00:00:00")
    put(root, "wide", 1, {"test/x": 8.0}, id="older", started="2025-02-01T00:00:00")
    (one,) = compared(root, *OURS)
    assert one["rows"][1]["metrics"]["test/x"]["mean"] == pytest.approx(np.mean([7.0, WIDE[1], WIDE[2]]))
    assert "older Results of the same settings and seeds were left out (wide: 2)" in one["notes"]


def test_failed_runs_are_counted_and_named(root: Path, compared: Any, capsys: pytest.CaptureFixture[str]) -> None:
    put(root, "wide", 3, {}, status="failed", error="out of memory\nmore")
    (one,) = compared(root, *OURS)
    assert (one["rows"][1]["seeds"], one["rows"][1]["finished"]) == ([0, 1, 2, 3], [0, 1, 2])
    assert "wide seed 3 failed: out of memory" in one["notes"]
    main([str(root), *OURS])
    assert "3 of 4" in capsys.readouterr().out


def test_a_row_of_failed_runs_alone_is_shown(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(root, "broken", 0, {}, status="failed", error="why")
    assert main([str(root), *OURS, "--format", "csv", "--against", "wide"]) == 0
    (line,) = [r for r in csv.DictReader(io.StringIO(capsys.readouterr().out)) if r["model"] == "broken"]
    assert (line["metric"], line["mean"], line["n"], line["runs"]) == ("", "", "0", "1")


def test_times_of_different_devices_are_noted(root: Path, compared: Any) -> None:
    (one,) = compared(root, *OURS)
    assert not one["notes"]
    put(root, "wide", 0, {"test/x": 1.0}, device="gpu", started="2026-03-01T00:00:00")
    (one,) = compared(root, *OURS)
    assert any("not measured alike" in note and "wide on gpu, threads 1" in note for note in one["notes"])


def test_the_verdicts_that_rest_on_a_rows_results_are_counted(root: Path, compared: Any) -> None:
    put(root, "wide", 0, {"test/x": 0.0}, config={"trainer": {"max_steps": 99}}, id="changed")
    ids = [r.id for r in store.results(root) if r.model == "wide" and r.id != "changed"]
    claim = {"benchmark": "family/own", "kind": "bound", "model": "wide", "metric": "test/x", "at": {}, "stated": "≥ 0"}
    kept = [claim | {"verdict": "not run", "runs": ids[:1]}, claim | {"verdict": "reproduced", "runs": ids}]
    kept += [claim | {"verdict": "not reproduced", "runs": ids, "stated": "≥ 9"}]
    kept += [claim | {"verdict": "not run", "runs": ["changed"]}, claim | {"verdict": "reproduced", "runs": ["gone"]}]
    store.keep_verdicts(kept, root / "family" / "own")
    found = {row["settings"].get("trainer.max_steps"): row["claims"] for row in compared(root, *OURS)[0]["rows"]}
    assert found[10] == {"reproduced": 1, "not_reproduced": 1, "not_run": 0}
    assert found[99] == {"reproduced": 0, "not_reproduced": 0, "not_run": 1}


@pytest.mark.parametrize(
    ("arguments", "models", "metrics"),
    [
        (["--model", "w*"], ["wide"], ["test/x", "test/y"]),
        (["--metric", "x"], ["narrow", "wide"], ["test/x"]),
        (["--metric", "test/y", "--metric", "x"], ["narrow", "wide"], ["test/x", "test/y"]),
        (["--metric", "val/*"], ["narrow", "wide"], ["val/x"]),
        (["--metric", "*", "--metric", "val/x"], ["narrow", "wide"], ["test/x", "test/y", "val/x"]),
        (["--benchmark", "family/*"], ["narrow", "wide"], ["test/x", "test/y"]),
    ],
)
def test_filters(root: Path, compared: Any, arguments: list[str], models: list[str], metrics: list[str]) -> None:
    (one,) = compared(root, *OURS, *arguments)
    assert names(one) == models
    assert list(one["rows"][0]["metrics"]) == metrics


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--sort", "x"], ["wide", "narrow", "other"]),
        (["--sort", "test/x", "--descending"], ["narrow", "wide", "other"]),  # without the metric: last
        (["--sort", "params"], ["other", "narrow", "wide"]),
        (["--sort", "fit", "--descending"], ["other", "narrow", "wide"]),
        (["--sort", "seeds", "--descending"], ["narrow", "wide", "other"]),
        (["--sort", "model", "--descending"], ["wide", "other", "narrow"]),
    ],
)
def test_sorts(root: Path, compared: Any, arguments: list[str], expected: list[str]) -> None:
    put(root, "other", 0, {"test/z": 1.0}, params=5, fit_seconds=9.0)
    (one,) = compared(root, *OURS, *arguments)
    assert names(one) == expected
    assert one["against"] == expected[0]


def test_two_folders_and_the_reference_are_told_apart(tmp_path: Path, root: Path, compared: Any) -> None:
    put(tmp_path / "theirs", "wide", 0, {"test/x": 0.0})
    family = reference.of("residual/digits")["runs"][0]
    kept = put(tmp_path / "theirs", family["model"], 0, {"test/loss": 0.5}, benchmark=family["benchmark"])
    one, digits = compared(root, tmp_path / "theirs", "--against", "theirs:wide")
    assert [row["source"] for row in one["rows"]] == ["ours", "ours", "theirs"]
    assert one["against"] == "theirs:wide"
    assert one["rows"][1]["differences"]["test/x"]["mean"] == WIDE[0]
    assert [row["source"] for row in digits["rows"]] == ["theirs", "reference"]
    assert "no row theirs:wide here: compared with the first one" in digits["notes"]
    assert kept.is_dir()


def test_the_reference_is_the_shipped_configuration(tmp_path: Path, compared: Any) -> None:
    run = next(row for row in reference.of("mean_field/odd_target")["runs"] if row["model"] == "wide")
    for steps in (3000, 100):
        config = {"trainer": {"max_steps": steps}, "model": {"init_args": {"width": 1024}}}
        place = tmp_path / str(steps)
        put(place, "wide", run["seed"], run["metrics"], benchmark=run["benchmark"], config=config, point={})
        (one,) = compared(place, "--model", "wide")
        ours, shipped = one["rows"]
        assert shipped["settings"] == {}
        assert ours["settings"].get("trainer.max_steps") == (None if steps == 3000 else 100)
        found = shipped["differences"]["test/loss"]
        assert (found["mean"], found["n"]) == (0.0, 1)


def test_the_reference_alone_gives_its_own_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compared: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = reference.of("time_series/gunpoint")
    (one,) = compared("--benchmark", "time_series/gunpoint", "--model", "fcn")
    claims = [claim for claim in kept["claims"] if claim["model"] == "fcn"]
    bound = next(c for c in claims if c["kind"] == "bound")
    found = one["rows"][0]["metrics"][bound["metric"]]
    assert [found["low"], found["high"]] == pytest.approx(bound["interval"])
    outcomes = [c["verdict"] for c in claims]
    assert one["rows"][0]["claims"]["not_reproduced"] == outcomes.count("not reproduced")


def test_csv_is_one_flat_table_of_the_same_numbers(
    root: Path, compared: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (one,) = compared(root, *OURS)
    assert main([str(root), *OURS, "--format", "csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(line["model"], line["metric"]) for line in lines] == [
        (model, metric) for model in ("narrow", "wide") for metric in ("test/x", "test/y")
    ]
    wide = one["rows"][1]
    for line in lines[2:]:
        value, difference = wide["metrics"][line["metric"]], wide["differences"][line["metric"]]
        assert [float(line[key]) for key in ("mean", "low", "high", "n")] == list(value.values())
        keys = ("difference", "difference_low", "difference_high", "pairs")
        assert [float(line[key]) for key in keys] == list(difference.values())
        assert (line["source"], line["against"], line["params"], line["fit_seconds"]) == (
            "ours",
            "narrow",
            "100",
            "2.0",
        )
    assert lines[0]["difference"] == lines[0]["against"] == ""


def test_numbers_that_json_lacks_are_null(tmp_path: Path, compared: Any) -> None:
    put(tmp_path, "a", 0, {"test/x": float("nan"), "test/y": 1.0})
    (one,) = compared(tmp_path, *OURS)
    assert one["rows"][0]["metrics"]["test/x"]["mean"] is None


@pytest.mark.parametrize("rows", [2, 6])
@pytest.mark.parametrize("width", [100, 160])
def test_a_terminal_of_any_usual_width_shows_every_number_whole(
    tmp_path: Path, rows: int, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for model in range(rows):
        for seed in range(3):
            metrics = {f"test/some_metric_{k}": 0.12345 * (1 + model + seed) * 10**-k for k in range(5)}
            put(tmp_path, f"model_{model}", seed, metrics, config={"trainer": {"max_steps": 10 + seed // 3}})
    monkeypatch.setenv("COLUMNS", str(width))
    assert main([str(tmp_path), *OURS]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= width
    for k in range(5):
        assert f"{0.12345 * 2 * 10**-k:.4g} ± " in printed


def test_markdown_has_a_section_a_benchmark(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(root), *OURS, "--format", "markdown"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("## family/own\n\n| model | seeds | x | y | parameters | fit | claims |")
    assert "| wide | 3 | 2.2 ± 2.7 | 11 ± 13 | 100 | 2.0 s | – |" in text
    assert "**Differences to narrow, paired by seed**" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{root}/nowhere"], "nowhere\n  no such folder: give one that --results of a run named"),
        (["{root}/family/own/wide/empty"], "no Result in this folder"),
        (["{root}", "--metric", "z"], "--metric z\n  'z' fits none of the Results here; they have x, y"),
        (["{root}", "--model", "wid"], "did you mean wide?"),
        (["{root}", "--benchmark", "family/owl"], "did you mean family/own?"),
        (["{root}", "--sort", "parms"], "they have model, seeds, params, fit, val/x, x, y\n  did you mean params?"),
        (["{root}", "--against", "narow"], "did you mean narrow?"),
    ],
)
def test_bad_input_names_argument_value_and_remedy(
    root: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "family/own/wide/empty").mkdir()
    assert main([*(argument.format(root=root) for argument in arguments), *OURS]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert not printed.out


def test_nothing_to_compare_is_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--no-reference"]) == 2
    assert "nothing to compare" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"id": "i", "benchmark": "b", "model": "m", "seed": 0, "metrics": 1}']
)
def test_a_damaged_result_is_named_and_the_others_are_compared(
    root: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = put(root, "wide", 9, {"test/x": 1.0})
    (folder / "result.json").write_text(text)
    assert main([str(root), *OURS]) == 0
    printed = capsys.readouterr()
    assert f"note: {folder.resolve() / 'result.json'} is damaged" in printed.err
    assert "wide" in printed.out


def test_results_of_a_run_are_compared(document: dict[str, Any], invoke: Invoke, results: Path, compared: Any) -> None:
    answer = invoke(document)
    invoke(document, "--set", "trainer.max_epochs=1")
    (one,) = compared(results, "--against", "slow (trainer.max_epochs=2)")
    assert sorted(names(one)) == ["fast", "fast", "slow", "slow"]
    claim = answer["claims"][0]
    row = next(r for r in one["rows"] if r["model"] == "fast" and r["settings"] == {"trainer.max_epochs": 2})
    found = row["differences"]["test/loss"]  # the claim's goal is lower: its statistic is slow minus fast
    assert (found["mean"], found["low"]) == pytest.approx((-claim["mean"], -claim["interval"][1]))
    assert row["claims"] == {"reproduced": 1, "not_reproduced": 0, "not_run": 0}


def test_comparing_imports_no_torch(root: Path) -> None:
    script = f"import sys; from benchmarks.compare import main; main([{str(root)!r}]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"

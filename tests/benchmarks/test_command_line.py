"""The command line as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import documents
from benchmarks.run import main
from tests.benchmarks.conftest import Invoke

ROOT = Path(__file__).parents[2]
HEAVY = "{'torch', 'lightning', 'jsonargparse', 'pandas', 'numpy', 'matplotlib', 'wandb', 'rich'}"


@pytest.mark.parametrize("argument", ["--list", "--help"])
def test_listing_and_help_import_nothing_heavy(argument: str) -> None:
    """What makes them answer at once; --help ends with SystemExit."""
    script = f"""
import contextlib, io, sys
from benchmarks.run import main
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main([{argument!r}])
print(sorted({HEAVY} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_catalogue_imports_no_torch() -> None:
    script = "import sys, zoo; zoo.list_models(); zoo.info('FCN'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_list_as_json_says_what_the_files_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "mean_field/*", "--json"]) == 0
    rows = {row["benchmark"]: row for row in json.loads(capsys.readouterr().out)}
    written = yaml.safe_load((documents.config_root() / "mean_field/odd_target.yaml").read_text())
    row = rows["mean_field/odd_target"]
    assert row["title"] == written["title"]
    assert (row["family"], row["paper"]) == ("mean_field", "hajjar2022symmetries")
    assert (row["models"], row["seeds"]) == (list(written["models"]), written["seeds"])
    assert (row["claims"], row["needs"]) == (len(written["claims"]), [])


def test_a_dry_run_starts_nothing_and_names_every_run(document: dict[str, Any], invoke: Invoke, results: Path) -> None:
    answer = invoke(document, "--dry-run")
    assert {(row["model"], row["seed"]) for row in answer["runs"]} == {
        (m, s) for m in ("slow", "fast") for s in range(3)
    }
    assert not list(results.iterdir())
    finished = {row["id"] for row in invoke(document)["runs"]}
    again = invoke(document, "--dry-run")
    assert {row["id"] for row in again["runs"] if row["cached"]} == finished


def test_the_json_answer_has_the_promised_keys(document: dict[str, Any], invoke: Invoke) -> None:
    answer = invoke(document)
    for row in answer["runs"]:
        assert row.keys() >= {"id", "benchmark", "model", "seed", "status", "error", "params", "fit_seconds"}
        assert row.keys() >= {"steps_per_second", "peak_memory_bytes", "device", "commit", "started", "test/loss"}
    for row in answer["claims"]:
        assert row.keys() >= {"benchmark", "kind", "model", "metric", "evidence", "source", "value", "tolerance"}
        assert row.keys() >= {"mean", "interval", "n", "verdict", "reason"}


def test_the_report_is_kept_as_markdown(document: dict[str, Any], invoke: Invoke, results: Path) -> None:
    row = invoke(document)["claims"][0]
    text = (results / "report.md").read_text()
    assert "| fast: loss | lower than slow | derived |" in text
    assert f"{row['mean']:.4g} [" in text
    assert "✔ reproduced" in text


def test_missing_data_of_a_globbed_benchmark_is_shown_as_not_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.FashionMNIST.download", unreachable)
    monkeypatch.setenv("ZOO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    assert main(["residual/fashion*", "--dry-run", "--json", "--results", str(tmp_path / "results")]) == 0
    rows = json.loads(capsys.readouterr().out)["runs"]
    assert {row["status"] for row in rows} == {"not run"}
    assert all("FashionMNIST/raw" in row["error"] for row in rows)


def test_a_figure_that_fails_costs_only_itself(document: dict[str, Any], invoke: Invoke, results: Path) -> None:
    answer = invoke(document | {"figure": "tests.benchmarks.shapes.no_figure"})
    assert answer["status"] == 0
    assert answer["claims"][0]["verdict"] == "reproduced"
    assert "tests.benchmarks.shapes.no_figure failed: RuntimeError: cannot draw" in (results / "report.md").read_text()


def test_a_damaged_result_is_made_again(document: dict[str, Any], invoke: Invoke) -> None:
    first = invoke(document | {"seeds": 1})
    Path(first["runs"][0]["folder"], "result.json").write_text("{")
    again = invoke(document | {"seeds": 1})
    assert [row["cached"] for row in again["runs"]] == [False, True]
    assert again["runs"][0]["metrics"] == first["runs"][0]["metrics"]


def test_results_of_another_device_are_marked(document: dict[str, Any], invoke: Invoke, results: Path) -> None:
    row = invoke(document | {"seeds": 1})["runs"][0]
    path = Path(row["folder"], "result.json")
    path.write_text(path.read_text().replace(row["device"], "another accelerator"))
    invoke(document | {"seeds": 1})
    assert "1 Runs were made on another device: another accelerator" in (results / "report.md").read_text()


def test_more_seeds_are_no_change_of_the_protocol(document: dict[str, Any], invoke: Invoke) -> None:
    assert invoke(document, "--set", "seeds=4")["claims"][0]["verdict"] == "reproduced"

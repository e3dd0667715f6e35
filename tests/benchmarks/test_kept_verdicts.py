"""Verdicts beside the Results that they rest on: none is lost, none stands twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import store
from tests.benchmarks.conftest import Invoke


def verdict(runs: list[str], outcome: str = "reproduced", **claim: Any) -> dict[str, Any]:
    about = {"benchmark": "b", "kind": "bound", "model": "a", "metric": "test/x", "at": {}, "stated": "≥ 1"}
    return {**about, "statistic": "mean", "verdict": outcome, "runs": runs, **claim}


def test_a_verdict_replaces_that_on_the_same_claim_and_runs_and_no_other(tmp_path: Path) -> None:
    first = [verdict(["1", "2"]), verdict(["1", "2"], model="c"), verdict(["1", "2", "3"])]
    store.keep_verdicts(first, tmp_path)
    store.keep_verdicts([verdict(["2", "1"], "not reproduced"), verdict(["4"], "not run")], tmp_path)
    kept = [(row["model"], row["runs"], row["verdict"]) for row in store.verdicts(tmp_path)]
    assert kept == [
        ("a", ["2", "1"], "not reproduced"),
        ("c", ["1", "2"], "reproduced"),
        ("a", ["1", "2", "3"], "reproduced"),
        ("a", ["4"], "not run"),
    ]


def test_a_verdict_on_no_run_is_not_kept(tmp_path: Path) -> None:
    store.keep_verdicts([verdict([])], tmp_path / "none")
    assert not (tmp_path / "none").exists()
    assert store.verdicts(tmp_path) == []


@pytest.mark.parametrize("text", ["{", "3", '["a"]'])
def test_a_damaged_file_is_named_and_stays(tmp_path: Path, text: str) -> None:
    path = tmp_path / store.VERDICTS
    path.write_text(text)
    with pytest.raises(ValueError, match=r"verdicts\.json is damaged .*: remove it"):
        store.keep_verdicts([verdict(["1"])], tmp_path)
    assert path.read_text() == text


def test_an_invocation_keeps_its_verdicts_with_their_runs(
    document: dict[str, Any], invoke: Invoke, results: Path
) -> None:
    answer = invoke(document)
    kept = store.verdicts(results / "own")
    assert kept == answer["claims"]
    assert set(kept[0]["runs"]) == {row["id"] for row in answer["runs"]}  # `better` rests on both models
    changed = invoke(document, "--set", "trainer.max_epochs=1")["claims"]
    assert changed[0]["reason"] == "settings changed: trainer.max_epochs=1"
    invoke(document)
    assert store.verdicts(results / "own") == kept + changed
    assert len(store.results(results)) == 12  # and the file is none of the Results


def test_damaged_verdicts_cost_no_report(document: dict[str, Any], invoke: Invoke, results: Path) -> None:
    (results / "own").mkdir()
    (results / "own" / store.VERDICTS).write_text("{")
    answer = invoke(document)
    assert answer["claims"][0]["verdict"] == "reproduced"
    assert "verdicts.json is damaged" in (results / "report.md").read_text()

"""Reference results: kept from Runs, and the tables of the READMEs made from them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import documents, reference, store
from benchmarks.documents import benchmark_files, read
from benchmarks.store import Result
from benchmarks.tables import Table, claims_table, number, results_table, spread

FAMILIES = sorted(path.stem for path in reference.FOLDER.glob("*.json"))
QUICK = "mean_field/odd_target"
PARTS = {name: part for family in FAMILIES for name, part in reference.read(family).items()}


@pytest.mark.parametrize("path", reference.readmes(), ids=lambda path: path.parent.name)
def test_the_readmes_tables_are_those_of_the_reference_results(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert reference.filled(text, reference.blocks()) == text, "make them again: python -m benchmarks.reference"


@pytest.mark.parametrize("name", [name for name, part in PARTS.items() if part["runs"]])
def test_reference_results_say_where_they_come_from(name: str) -> None:
    document = PARTS[name]
    assert document["machine"].keys() >= {"cores", "device", "system"}
    assert document["versions"].keys() >= {"python", "torch", "lightning"}
    assert all(document["commits"])
    assert not [commit for commit in document["commits"] if commit.endswith("-dirty")], "run it on committed code"
    assert document["date"]
    assert name in benchmark_files()
    assert {row["benchmark"] for row in document["claims"] + document["runs"]} <= {name}


@pytest.mark.parametrize("name", PARTS)
def test_every_judged_claim_of_the_reference_rests_on_its_runs(name: str) -> None:
    """The verdicts' means are those of the rows beside them, for the claims that average one metric."""
    document = PARTS[name]
    alone = [c for c in document["claims"] if c["kind"] in ("value", "bound") and not c.get("than")]
    for claim in (c for c in alone if c["verdict"] != "not run"):
        rows = [row for row in document["runs"] if row["model"] == claim["model"]]
        rows = [row for row in rows if all(row["point"].get(key, v) == v for key, v in claim["at"].items())]
        assert len(rows) == claim["n"]
        if claim["metric"] not in rows[0]["metrics"]:  # it is over seeds, by the benchmark's function
            assert read(benchmark_files()[name]).get("summary")
        elif claim["statistic"] == "mean":
            mean = sum(row["metrics"][claim["metric"]] for row in rows) / len(rows)
            assert claim["mean"] == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("name", PARTS)
def test_no_claim_is_about_a_metric_that_nobody_logs(name: str) -> None:
    reasons = [claim["reason"] for claim in PARTS[name]["claims"]]
    assert not [reason for reason in reasons if reason.startswith("no metric")]


def test_tables_as_a_reader_sees_them() -> None:
    rows = [
        {"model": "a", "point": {}, "status": "finished", "params": 1234, "fit_seconds": 2.0, "metrics": {"test/x": x}}
        for x in (1.0, 2.0, 3.0)
    ]
    assert results_table("", rows).markdown().splitlines()[-1] == "| a | 3 | 2 ± 2.5 | 1,234 | 2.0 s |"
    claim = {"model": "a", "at": {}, "metric": "test/x", "stated": "≥ 1", "evidence": "derived", "mean": 2.0}
    claim |= {"interval": [1.0, 3.0], "verdict": "not run", "reason": "because", "kind": "bound", "benchmark": "b"}
    text = claims_table("", [claim]).markdown()
    assert "| a: x | ≥ 1 | derived | 2 [1, 3] | – not run (1) |" in text
    assert text.endswith("(1) because")
    assert number(None) == "–"
    assert spread([1.0]) == "1"


def test_a_wide_table_is_cut_into_parts_that_lose_nothing() -> None:
    table = Table("caption", ["model", *"abcde"], [["one", *["1.234 ± 0.5"] * 5], ["two", *["5.678"] * 5]], 1, ["note"])
    assert table.within(200) == [table]
    parts = table.within(50)
    assert [column for part in parts for column in part.columns[1:]] == list("abcde")
    assert [part.columns[0] for part in parts] == ["model"] * len(parts)
    widths = [sum(3 + max(map(len, column)) for column in zip(p.columns, *p.rows, strict=True)) + 1 for p in parts]
    assert max(widths) <= 50
    assert ([p.caption for p in parts if p.caption], [p.notes for p in parts if p.notes]) == (["caption"], [["note"]])


@pytest.mark.parametrize(("labels", "metrics", "shown"), [(4, 8, 8), (4, 9, 2), (3, 9, 9)])
def test_a_readme_shows_what_has_room_beside_each_other(labels: int, metrics: int, shown: int) -> None:
    logged = {"test/loss": 0.5, **{f"test/x{n}": float(n) for n in range(metrics - 1)}}
    run = {"status": "finished", "point": {}, "params": 1, "fit_seconds": 1.0, "metrics": logged | {"val/loss": 0.1}}
    runs = [{**run, "model": f"m{n}"} for n in range(labels)]
    claim = {"model": "m0", "at": {}, "metric": "test/x3", "stated": "≥ 1", "evidence": "derived", "mean": 3.0}
    claim |= {"interval": [3.0, 3.0], "verdict": "reproduced", "reason": "", "kind": "bound", "benchmark": "b"}
    part = {"runs": runs, "claims": [claim], "date": "today", "versions": {"torch": "2"}}
    table = reference._block(part | {"machine": {"cores": 2, "device": ["cpu"]}}).partition("| claim")[0]
    found = [name for name in ("loss", *(f"x{n}" for n in range(metrics - 1))) if f"| {name} " in table]
    assert len(found) == shown
    assert {"loss", "x3"} <= set(found)


def test_blocks_are_replaced_and_nothing_else(tmp_path: Path) -> None:
    text = "before\n<!-- results a/b -->\nold\n<!-- end -->\nafter <!-- results c --><!-- end -->"
    made = reference.filled(text, {"a/b": "| new |"})
    assert made.startswith("before\n<!-- results a/b -->\n\n| new |\n\n<!-- end -->\nafter")
    assert "Not run yet." in made
    assert reference.filled(made, {"a/b": "| new |"}) == made


class Drawn:
    """A figure that writes the number of its results."""

    def __init__(self, results: Sequence[Any]) -> None:
        self.count = len(results)

    def savefig(self, path: Path, dpi: int) -> None:
        path.write_text(str(self.count))


def test_figures_are_drawn_of_what_is_kept_where_a_readme_shows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    (tmp_path / "zoo/family").mkdir(parents=True)
    (tmp_path / "zoo/family/README.md").write_text("![a figure](figures/shown.png) ![another](figures/none.png)")
    for name, results in {
        "family/shown": [1, 2, 3],
        "family/hidden": [1],
        "family/none": [],
        "other/shown": [1],
    }.items():
        figure = "tests.benchmarks.test_reference.Drawn"
        reference._keep_figure(SimpleNamespace(name=name, figure=figure), results)
    assert {path.name: path.read_text() for path in tmp_path.rglob("*.png")} == {"shown.png": "3"}


def test_runs_of_code_that_is_in_no_commit_are_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = benchmark_files()
    dirty = Result("0" * 12, "sparse/lottery", "rigl", 0, status="finished", commit="2664b13aa1c2-dirty")
    monkeypatch.setattr(store, "finished", lambda _: dirty)
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    monkeypatch.setattr(documents, "benchmark_files", lambda: {n: p for n, p in files.items() if n == QUICK})
    with pytest.raises(ValueError, match="sparse/lottery ran on code that is in no commit: commit it"):
        reference.keep(QUICK.partition("/")[0], tmp_path)
    assert not list(tmp_path.iterdir())


def test_every_picture_of_a_readme_is_there_and_every_picture_is_shown() -> None:
    for readme in reference.readmes():
        shown = {
            readme.parent / name for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", readme.read_text(encoding="utf-8"))
        }
        assert all(path.is_file() for path in shown), shown
        if readme.parent != reference.ROOT:
            assert shown == set(readme.parent.glob("figures/*.png"))


def test_every_reference_belongs_to_a_family_with_benchmarks() -> None:
    assert FAMILIES
    assert set(FAMILIES) <= {name.partition("/")[0] for name in benchmark_files()}

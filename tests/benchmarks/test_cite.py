"""Citations: exactly what a benchmark uses, once each, in BibTeX that a strict reader takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import documents
from benchmarks.build import build
from benchmarks.cite import LIBRARIES, citations, entries, libraries
from benchmarks.problems import BadInput
from benchmarks.run import main
from benchmarks.schema import Benchmark, read_benchmark
from datamodules import UCR
from tests.benchmarks.conftest import Invoke

#: Reached by shipped benchmarks, and without a publication that their authors ask to be cited.
NO_CITATION = {"platformdirs", "safetensors", "yaml"}
REQUIRED = {
    "article": {"author", "title", "journal", "year"},
    "inproceedings": {"author", "title", "booktitle", "year"},
    "misc": {"author", "title", "year"},
    "techreport": {"author", "title", "institution", "year"},
}
FRAME = {"torch", "lightning", "numpy", "matplotlib", "pandas", "wandb"}
NAMES = sorted(documents.benchmark_files())


def shipped(*names: str) -> list[Benchmark]:
    files = documents.benchmark_files()
    return [read_benchmark(name, files[name], documents.read(files[name]), {}) for name in names]


def own(document: dict[str, Any], path: Path = Path("own.yaml")) -> Benchmark:
    return read_benchmark("own", path, document, {})


def parsed(text: str) -> dict[str, dict[str, str]]:
    """The entries of a BibTeX text by key: their fields and, as `entry`, their type. Asserts the whole grammar."""
    found: dict[str, dict[str, str]] = {}
    text, place = text.strip(), 0
    while place < len(text):
        head = re.compile(r"\s*@(\w+)\{([\w:.+-]+),\s*").match(text, place)
        assert head, f"no entry at {text[place : place + 40]!r}"
        assert head[2] not in found, f"{head[2]} stands twice"
        fields, place = {"entry": head[1]}, head.end()
        while text[place] != "}":
            name = re.compile(r"(\w+) = \{").match(text, place)
            assert name, f"no field at {text[place : place + 40]!r}"
            start, place = name.end(), name.end()
            depth = 1
            while depth:
                depth += {"{": 1, "}": -1}.get(text[place], 0)
                place += 1
            fields[name[1]] = text[start : place - 1]
            place = (re.compile(r",?\s*").match(text, place) or name).end()
        found[head[2]] = fields
        place += 1
    return found


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["residual/digits"], ["he2016deep", "alpaydin1998digits", *FRAME, "sklearn"]),
        (["residual/fashion_mnist"], ["he2016deep", "xiao2017fashion", *FRAME, "torchvision"]),
        (["time_series/gunpoint"], ["fawaz2019review", "dau2019ucr", *FRAME, "aeon"]),
        (["mean_field/odd_target"], ["hajjar2022symmetries", *FRAME]),
        (["time_series/gunpoint", "time_series/gunpoint_paper"], ["fawaz2019review", "dau2019ucr", *FRAME, "aeon"]),
    ],
)
def test_exactly_what_is_used_is_cited_once(names: list[str], expected: list[str]) -> None:
    found = parsed(citations(shipped(*names)))
    assert sorted(found) == sorted(expected)
    assert next(iter(found)) == expected[0]


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_benchmark_names_its_paper_and_its_data(name: str) -> None:
    (benchmark,) = shipped(name)
    found = parsed(citations([benchmark]))
    data = {build(settings["data"]).citation for settings in benchmark.models.values()}
    expected = {benchmark.paper["key"], *(key for text in data for key in parsed(text))}
    assert set(found) - set(entries(LIBRARIES.read_text())) == expected


@pytest.mark.parametrize("text", [LIBRARIES.read_text(encoding="utf-8").partition("\n")[2], citations(shipped(*NAMES))])
def test_every_entry_has_what_its_type_requires(text: str) -> None:
    for key, fields in parsed(text).items():
        assert set(fields) >= REQUIRED[fields["entry"]], key
        assert re.fullmatch(r"\d{4}", fields["year"]), key
        assert all(value.strip() for value in fields.values()), key


def test_every_library_that_is_reached_is_cited_or_known_to_ask_for_nothing() -> None:
    assert libraries(shipped(*NAMES)) <= set(entries(LIBRARIES.read_text())) | NO_CITATION


def test_a_paper_as_bibtex(document: dict[str, Any]) -> None:
    about = {"key": "b 2020", "title": "Rates & bounds", "authors": "A. Bee, Jan van Dee and {Ab Cee}", "year": 2020}
    about |= {
        "type": "article",
        "venue": "Journal of Tests 33(4), 917-963",
        "url": "https://arxiv.org/abs/2001.00001v2",
    }
    found = parsed(citations([own(document | {"paper": about})]))["b-2020"]
    assert found == {
        "entry": "article",
        "author": "A. Bee and Jan van Dee and {Ab Cee}",
        "title": r"{Rates \& bounds}",
        "journal": "Journal of Tests",
        "volume": "33",
        "number": "4",
        "pages": "917--963",
        "year": "2020",
        "eprint": "2001.00001",
        "archiveprefix": "arXiv",
        "url": "https://arxiv.org/abs/2001.00001v2",
    }


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"title": "T", "type": "book"}, "paper.type\n  expected one of article, inproceedings, misc, got 'book'"),
        ({"title": "T", "type": "article"}, "paper.venue\n  missing"),
    ],
)
def test_a_wrong_paper_is_bad_input(document: dict[str, Any], about: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=re.escape(message)):
        citations([own(document | {"paper": about})])


def test_models_and_data_of_a_users_own_need_no_citation(document: dict[str, Any]) -> None:
    assert set(parsed(citations([own(document)]))) == {"torch", "lightning", "numpy", "wandb"}


def test_the_archive_that_a_set_belongs_to_is_cited(document: dict[str, Any]) -> None:
    assert set(entries(UCR("BasicMotions").citation)) == {"bagnall2018uea"}
    data = {"class_path": "datamodules.UCR"}
    swept = {"data.init_args.name": ["GunPoint", "BasicMotions"]}
    found = parsed(citations([own(document | {"data": data, "sweep": swept, "claims": []})]))
    assert {"dau2019ucr", "bagnall2018uea", "aeon"} <= set(found)


def test_what_a_model_was_trained_on_elsewhere_counts(document: dict[str, Any]) -> None:
    model = document["models"]["slow"]
    taken = {**model, "init_args": {"lr": {"from": "residual/digits/resnet"}}}
    found = parsed(citations([own(document | {"models": {"slow": taken}, "claims": []})]))
    assert {"he2016deep", "alpaydin1998digits", "sklearn"} <= set(found)


def test_the_paper_is_no_part_of_a_run(document: dict[str, Any], invoke: Invoke) -> None:
    def ids(**changes: Any) -> list[str]:
        return [row["id"] for row in invoke(document | changes, "--dry-run")["runs"]]

    assert ids() == ids(paper={"key": "k", "title": "T", "type": "misc"})


def test_the_command_prints_and_starts_nothing(
    document: dict[str, Any], tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(document))
    assert main([str(path), "--cite", "--results", str(results)]) == 0
    assert "torch" in parsed(capsys.readouterr().out)
    assert not list(results.iterdir())
    assert main(["--cite"]) == 0
    quick = capsys.readouterr().out
    assert main(["--cite", "--suite", "quick"]) == 0
    assert capsys.readouterr().out == quick


def test_the_command_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cite", "residual/digit"]) == 2
    assert "did you mean residual/digits" in capsys.readouterr().err
    assert main(["--cite", "--suite", "quik"]) == 2

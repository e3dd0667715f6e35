"""The id of a Run changes with what determines its result, and with nothing else."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import identity, plan
from benchmarks.identity import code_digest
from benchmarks.schema import read_benchmark
from tests.benchmarks.shapes import Line


def ids(document: dict[str, Any]) -> dict[tuple[str, int], str]:
    benchmark = read_benchmark("own", Path("own.yaml"), copy.deepcopy(document), {})
    return {(run.model, run.seed): run.id for run in plan.make([(benchmark, True)]).runs}


def test_every_label_and_seed_has_an_id_of_its_own(document: dict[str, Any]) -> None:
    assert len(set(ids(document).values())) == 6


def test_order_whitespace_comments_and_reporting_change_nothing(document: dict[str, Any]) -> None:
    turned = dict(reversed(document.items()))
    turned["models"] = dict(reversed(document["models"].items()))
    text = "# a comment\n" + yaml.safe_dump(turned, sort_keys=False, indent=7, default_flow_style=True)
    again = yaml.safe_load(text) | {"title": "Another title", "claims": [], "paper": {"key": "other"}, "threads": 1}
    again["figure"] = "benchmarks.figures.mean_field.odd_target.decay"
    assert ids(again) == ids(document)


def test_spelling_out_a_default_changes_nothing(document: dict[str, Any]) -> None:
    spelt = copy.deepcopy(document)
    spelt["models"]["slow"]["init_args"] |= {"in_features": 2, "dropout": 0.0}
    assert ids(spelt) == ids(document)


def test_the_data_version_counts(document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    before, spec = ids(document), Line().spec
    monkeypatch.setattr(Line, "spec", property(lambda self: replace(spec, version="another")))
    assert not set(before.values()) & set(ids(document).values())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("models", "slow", "init_args", "lr"), 0.02),
        (("data", "init_args", "size"), 64),
        (("trainer", "max_epochs"), 3),
        (("select",), {"monitor": "val/loss"}),
        (("optimizer",), {"class_path": "torch.optim.Adam"}),
        (("callbacks",), [{"class_path": "lightning.pytorch.callbacks.LearningRateMonitor"}]),
    ],
)
def test_what_determines_the_result_changes_the_id(document: dict[str, Any], path: Any, value: Any) -> None:
    changed = copy.deepcopy(document)
    node: Any = changed
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    assert ids(changed)["slow", 0] != ids(document)["slow", 0]


MODEL = '''
"""A docstring."""
from own_helpers import offset
from own_package.part import scale
from zoo._module import ZooModule

class Own(ZooModule):
    """Another docstring."""

    def __init__(self, in_features: int, lr: float = 0.1) -> None:
        super().__init__()
        self.lr = lr  # a comment

    def forward(self, x):
        return scale * x
'''


@pytest.fixture
def own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "own_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "model.py").write_text(MODEL)
    (folder / "part.py").write_text("scale = 2.0\n")
    (tmp_path / "own_helpers.py").write_text("offset = 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield folder
    for name in [name for name in sys.modules if name.startswith(("own_package", "own_helpers"))]:
        del sys.modules[name]


def digest() -> str:
    return code_digest(["own_package.model"])


@pytest.mark.parametrize(
    ("file", "before", "after", "same"),
    [
        ("model.py", "# a comment", "# another one", True),
        ("model.py", '"""Another docstring."""', '"""It says more now."""', True),
        ("model.py", "scale * x", "(scale  *  x)", True),
        ("model.py", "lr: float = 0.1", "lr: float = 0.2", False),
        ("model.py", "scale * x", "scale + x", False),
        ("part.py", "2.0", "3.0", False),
        ("__init__.py", "", "exported = 1", False),
        ("../own_helpers.py", "1.0", "2.0", False),
    ],
)
def test_the_code_counts_by_its_syntax(own_package: Path, file: str, before: str, after: str, same: bool) -> None:
    first, path = digest(), own_package / file
    path.write_text(path.read_text().replace(before, after, 1) if before else after)
    assert (digest() == first) == same


def reached(module: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The modules whose source enters a digest."""
    seen: set[str] = set()
    original = identity._digest

    def noted(path: Path, modified: int) -> str:
        seen.add(path.relative_to(Path(identity.__file__).parents[1]).as_posix())
        return original(path, modified)

    monkeypatch.setattr(identity, "_digest", noted)
    code_digest([module])
    return seen


def test_the_frame_reaches_the_training_and_not_the_reporting(monkeypatch: pytest.MonkeyPatch) -> None:
    files = reached("benchmarks.train", monkeypatch)
    assert {"benchmarks/train.py", "benchmarks/selection.py", "zoo/_module.py", "zoo/_stages.py"} <= files
    outside = ("report", "tracking", "plan", "tables", "launch", "store", "claims", "run", "progress", "schema")
    assert not {f"benchmarks/{name}.py" for name in outside} & files


def test_lazily_exported_classes_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    files = reached("tests.benchmarks.shapes", monkeypatch)
    assert "datamodules/_arrays.py" in files

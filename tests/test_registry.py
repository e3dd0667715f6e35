"""The catalogue's index: which classes of a folder are models, and what is known of them without importing any."""

from __future__ import annotations

from pathlib import Path

import pytest

import zoo
from zoo import _registry


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A family with an abstract base in a private file, and public classes that do and do not derive from it."""
    folder = tmp_path / "shapes"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "_base.py").write_text(
        "class Root(zoo._module.ZooModule):\n    def __init__(self, size: int, lr: float = 0.1): ...\n"
        "class Middle(Root): ...\nclass Apart(Module): ...\n"
    )
    (folder / "round.py").write_text(
        "class Circle(_base.Middle): ...\nclass Sphere(Root):\n    def __init__(self): ...\n"
    )
    (folder / "flat.py").write_text(
        "class Line(Apart): ...\nclass Plane(ZooModule): ...\nclass _Point(ZooModule): ...\n"
    )
    return tmp_path


def test_a_class_is_a_model_also_by_way_of_a_private_base(shelf: Path) -> None:
    found = _registry.entries(shelf)
    assert {name: entry.is_model for name, entry in found.items()} == {
        "Circle": True,
        "Line": False,
        "Plane": True,
        "Sphere": True,
    }


def test_a_private_class_may_have_the_name_of_its_base(shelf: Path) -> None:
    (shelf / "shapes" / "_other.py").write_text("class Same(library.Same): ...\n")
    (shelf / "shapes" / "solid.py").write_text("class Cube(Same): ...\n")
    assert not _registry.entries(shelf)["Cube"].is_model


def test_arguments_are_those_of_the_nearest_constructor(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _registry.entries(shelf)
    monkeypatch.setattr(_registry, "entries", lambda: found)
    assert _registry.info("Circle")["hyperparameters"] == {
        "size": {"type": "int", "default": None},
        "lr": {"type": "float", "default": "0.1"},
    }
    assert _registry.info("Sphere")["hyperparameters"] == {}


def test_every_module_of_the_zoo_that_a_benchmark_may_name_is_listed() -> None:
    from lightning.pytorch import LightningModule

    listed = {name.rpartition(".")[2] for name in zoo.list_models()}
    for name, entry in _registry.entries().items():
        assert (name in listed) == issubclass(_registry.class_at(entry.module + "." + name), LightningModule), name

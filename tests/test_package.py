"""The package as it is installed: what travels in the wheel, and where an installed one finds it."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks import documents

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel; without a network, so with the backend of this environment."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, text=True, timeout=120)
    return next(folder.glob("*.whl"))


def test_configurations_and_weights_travel_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for name, path in documents.benchmark_files().items():
        assert f"benchmarks/configs/{name}{path.suffix}" in names
    shipped = {f"zoo/weights/{path.name}" for path in (ROOT / "zoo" / "weights").iterdir() if path.is_file()}
    assert shipped <= names
    assert "benchmarks/reference/.gitkeep" not in names
    assert not [name for name in names if name.startswith(("tests/", "configs/", "results/"))]


def test_an_installed_wheel_lists_the_same_benchmarks(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    ask = [sys.executable, "-m", "benchmarks.run", "--list"]
    environment = {"PYTHONPATH": str(tmp_path / "site"), "PATH": ""}
    installed = subprocess.run(ask, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    checkout = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=True)
    assert installed.stdout == checkout.stdout
    assert "mean_field/odd_target" in installed.stdout


def test_every_dependency_has_a_bound_with_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    named = tomllib.loads(text)["project"]["dependencies"]
    lines = {line.strip() for line in text.splitlines()}
    for requirement in named:
        assert any(sign in requirement for sign in (">", "<", "="))
        assert any(line.startswith(f'"{requirement}",  # ') for line in lines), f"{requirement}: say why"


def pins() -> dict[str, str]:
    """Name → version of constraints.txt, names in their canonical form."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(name): version for name, _, version in (ln.partition("==") for ln in lines if "==" in ln)}


def test_the_constraints_pin_every_dependency_within_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = project["project"]["dependencies"] + project["project"]["optional-dependencies"]["dev"]
    wanted += project["project"]["optional-dependencies"]["graph"]  # which dev asks for by the project's own name
    for requirement in map(Requirement, wanted + project["build-system"]["requires"]):
        if requirement.name == project["project"]["name"]:
            continue
        assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)]), requirement


def test_the_constraints_pin_what_the_dependencies_need_in_turn() -> None:
    waiting, seen = [("paperzoo", {"", "dev"})], {"paperzoo"}
    while waiting:
        name, extras = waiting.pop()
        for requirement in map(Requirement, importlib.metadata.requires(name) or ()):
            applies = [requirement.marker is None or requirement.marker.evaluate({"extra": e}) for e in extras]
            needed = canonicalize_name(requirement.name)
            if any(applies) and (needed not in seen or requirement.extras):
                seen.add(needed)
                waiting.append((needed, {"", *requirement.extras}))
    assert not seen - {"paperzoo"} - set(pins())

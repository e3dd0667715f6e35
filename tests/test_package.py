"""The package as it is installed: what travels in the wheel, and where an installed one finds it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

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


def test_the_constraints_pin_every_dependency_within_its_range() -> None:
    from packaging.requirements import Requirement

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {
        name.lower().replace("_", "-"): version
        for name, _, version in (ln.partition("==") for ln in lines if "==" in ln)
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = project["project"]["dependencies"] + project["project"]["optional-dependencies"]["dev"]
    for requirement in map(Requirement, wanted + project["build-system"]["requires"]):
        assert requirement.specifier.contains(pins[requirement.name.lower().replace("_", "-")]), requirement

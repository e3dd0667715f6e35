"""The documents' examples are code that passes the project's own checks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks.schema import read_benchmark
from zoo._module import ZooModule

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PYTHON, YAML = (re.findall(rf"```{kind}\n(.*?)```", TEXT, re.S) for kind in ("python", "yaml"))


@pytest.mark.parametrize(("position", "path"), [(0, "zoo/residual/softmax.py"), (1, "tests/residual/test_softmax.py")])
@pytest.mark.parametrize("check", [["check"], ["format", "--diff"]])
def test_the_contributors_files_are_clean(position: int, path: str, check: list[str]) -> None:
    ruff = [sys.executable, "-m", "ruff", *check, "--stdin-filename", str(ROOT / path), "-"]
    done = subprocess.run(ruff, input=PYTHON[position], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_contributors_model_and_benchmark_fit_together() -> None:
    scope: dict[str, object] = {}
    exec(compile(PYTHON[0].replace("from __future__ import annotations", ""), "softmax.py", "exec"), scope)
    model = scope["SoftmaxRegression"]
    assert isinstance(model, type)
    assert issubclass(model, ZooModule)
    benchmark = read_benchmark("residual/softmax_digits", Path("softmax_digits.yaml"), yaml.safe_load(YAML[0]), {})
    assert benchmark.models["softmax"]["model"]["class_path"] == f"zoo.residual.{model.__name__}"

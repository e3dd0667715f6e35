"""The README's transcripts are what happens: its commands are run, its examples computed again."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
NUMBER = r"[+-]?\d[\d,]*(\.\d+)?(e[+-]\d+)?"


def transcripts() -> list[tuple[str, str]]:
    """Every command that the README shows with what it prints, in order."""
    blocks = re.findall(r"```console\n(.*?)```", TEXT, re.S)
    found = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.M)[1:]]
    return [(command, printed) for command, _, printed in (part.partition("\n") for part in found)]


def essence(printed: str) -> tuple[list[str], list[float]]:
    """The words of what was printed, and its numbers but those of times, intervals, Runs under way and the machine."""
    lines = [line for line in printed.splitlines() if not re.search(r"measured alike|\d cores on", line)]
    kept = re.sub(rf"\[[^\]]*\]|± *{NUMBER}|{NUMBER} (s|min|h)\b|[─*]", " ", "\n".join(lines))
    numbers = [float(found[0].replace(",", "")) for found in re.finditer(NUMBER, kept)]
    words = (" ".join(re.sub(NUMBER, " ", line).split()) for line in kept.splitlines())
    return sorted(line for line in words if line), sorted(numbers)  # Runs of several workers end in any order


@pytest.mark.timeout(900)
def test_the_commands_print_what_the_readme_shows(tmp_path: Path) -> None:
    assert transcripts()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    for command, shown in transcripts():
        program, *arguments = shlex.split(command)
        assert program == "python", command
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        (words, numbers), (words_shown, numbers_shown) = essence(done.stdout), essence(shown.removeprefix("…"))
        if shown.startswith("…"):  # only the end is shown
            assert set(words_shown) <= set(words), command
            continue
        assert words == words_shown, command
        # another processor rounds otherwise, and a seed's path then moves by less than the spread over seeds
        assert numbers == pytest.approx(numbers_shown, rel=0.02, abs=0.03), command


WITH_EXAMPLES = ("README.md", *(f"zoo/{family}/README.md" for family in ("differential", "stochastic", "graph")))


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_give_what_the_readme_shows(name: str) -> None:
    blocks = re.findall(r"```python\n(>>> .*?)```", (ROOT / name).read_text(encoding="utf-8"), re.S)
    assert blocks
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "README", "README.md", 0)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    assert runner.run(test).failed == 0


def test_the_readme_names_what_the_commands_take() -> None:
    """Every option that the README writes behind one of the project's commands is one of its options."""
    for module in ("run", "compare", "publish", "reference"):
        lines = re.findall(rf"python -m benchmarks\.{module}\b(.*)", TEXT)
        asked = [sys.executable, "-m", f"benchmarks.{module}", "--help"]
        known = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for option in {option for line in lines for option in re.findall(r"--[a-z-]+", line.partition("#")[0])}:
            assert option in known, f"benchmarks.{module} {option}"

"""The pairs and their command: turns, medians, discovery, bad input, the README's block, and that the work is equal."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import pairs, speed
from benchmarks.pairs import Pair, Place, Work, _record, _turns, discover
from benchmarks.pairs.epoch import from_memory, ours, resnet
from benchmarks.pairs.launch import before_first_steps
from benchmarks.pairs.stack import Sizes, sides
from benchmarks.resolve import NotHere
from datamodules import DataMissing

ROOT = Path(__file__).parents[2]
ROW: dict[str, Any] = {
    "pair": "a/b",
    "what": "x",
    "device": "cpu",
    "unit": "ratio",
    "per": "step",
    "quantity": "seconds",
}
ROW |= {"at_most": 0.5, "threads": 1, "repeats": 3, "ratio": 0.25, "low": 0.2, "high": 0.3, "ours": 2e-5}
ROW |= {"theirs": 8e-5, "start_up": None, "met": True, "reason": ""}
ABOUT: dict[str, Any] = {
    "date": "2026-01-01",
    "machine": {"cpu": "C", "cores": 2, "memory_bytes": 2**34, "system": "Linux"},
}
ABOUT |= {"versions": {"torch": "2", "lightning": "3"}, "commit": "abc", "threads": 1, "repeats": 3}


def costs(*values: float, units: int = 1) -> Callable[[], Work]:
    """A side whose turns, after the warm-up, cost what is given."""
    remaining = iter((100.0, *values))
    return lambda: Work(next(remaining), units, 10)


def pair(build: Callable[[Place], Any], **changes: Any) -> Pair:
    return Pair("own/pair", "one beside the other", 1.0, build, **changes)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> dict[str, Pair]:
    """The command's pairs are the test's own."""
    found: dict[str, Pair] = {}
    monkeypatch.setattr(speed, "discover", lambda: found)
    return found


def test_sides_take_turns_after_a_warm_up_of_each() -> None:
    told: list[str] = []

    def side(name: str) -> Callable[[], Work]:
        return lambda: told.append(name) or Work(1.0, 1, 1)  # type: ignore[func-returns-value]

    _turns.in_turn(side("A"), side("B"), 3)
    assert told == ["A", "B"] + ["A", "B"] * 3


def test_the_ratio_is_the_median_of_the_paired_ratios() -> None:
    """Ratios 1/2, 3/1 and 4/4, whose median is 1: neither 3/2, of the medians, nor 8/7, of the sums."""
    made = _turns.summary(pair(lambda _: None), _turns.in_turn(costs(1, 3, 4), costs(2, 1, 4), 3))
    assert (made["ratio"], made["low"], made["high"]) == (1.0, 0.75, 2.0)
    assert (made["ours"], made["theirs"], made["met"]) == (3.0, 2.0, True)


def test_differences_are_of_one_unit_in_milliseconds() -> None:
    turns = _turns.in_turn(costs(1, 1, 1, units=100), costs(0.5, 0.5, 0.5, units=100), 3)
    assert _turns.summary(pair(lambda _: None, unit="+ms"), turns)["ratio"] == pytest.approx(5.0)


def test_a_side_alone_is_measured_in_seconds() -> None:
    made = _turns.summary(pair(lambda _: None, unit="s"), _turns.in_turn(costs(2, 4, 6, units=2), None, 3))
    assert (made["ratio"], made["theirs"], made["met"]) == (2.0, None, False)


def test_unequal_work_is_refused() -> None:
    with pytest.raises(AssertionError, match="unequal work"):
        _turns.in_turn(costs(1, 1, 1), costs(1, 1, 1, units=2), 3)


@pytest.mark.parametrize("error", [NotHere("no such\ncore"), DataMissing("no such\ncore")])
def test_what_the_machine_lacks_is_a_row_with_the_reason(error: Exception) -> None:
    def build(_: Place) -> Any:
        raise error

    row = _turns.measure(pair(build), "cpu", 3, 1)
    assert (row["ratio"], row["met"], row["reason"]) == (None, None, "no such core")
    assert "– not run (1)" in _record.table([row]).markdown()
    assert _record.table([row]).markdown().endswith("(1) no such core")


def test_a_row_with_a_reason_has_the_keys_of_any_other() -> None:
    def absent(_: Place) -> Any:
        raise NotHere("x")

    measured = _turns.measure(pair(lambda _: (costs(1, 1, 1), costs(1, 1, 1))), "cpu", 3, 1)
    assert measured.keys() == _turns.measure(pair(absent), "cpu", 3, 1).keys() == ROW.keys()


def test_pairs_are_found_by_reading_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {path.stem for path in Path(pairs.__file__).parent.glob("[!_]*.py")}
    assert {name.partition("/")[0] for name in discover()} == files
    (tmp_path / "empty.py").write_text("")
    monkeypatch.setattr(pairs, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(pairs, "__path__", [str(tmp_path)])
    with pytest.raises(ValueError, match=r"empty\.py defines no PAIRS"):
        discover.__wrapped__()
    (tmp_path / "empty.py").unlink()
    text = "from benchmarks.pairs import Pair\nPAIRS = (Pair('a/b', '', 1.0, lambda place: None),)\n"
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(text)
    with pytest.raises(ValueError, match=r"two\.py: a second pair of the name 'a/b'"):
        discover.__wrapped__()


@pytest.mark.parametrize("argument", ["--help", "--list"])
def test_help_and_list_import_no_torch(argument: str) -> None:
    script = f"""
import contextlib, io, sys
from benchmarks.speed import main
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main([{argument!r}])
print(sorted({{'torch', 'lightning', 'numpy', 'rich'}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stack/two_layer"], "did you mean stack/two_layer_"),
        (["stack/memory_gpu"], "not for cpu: expected --device cuda"),
        (["--repeats", "2"], "expected 3 or more, for a spread, got 2"),
        (["--threads", "0"], "expected 1 to "),
        (["step/unstacked", "--write"], "leave the names out"),
    ],
)
def test_bad_input_says_what_would_be_right(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert speed.main(arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert not printed.out


def test_cuda_without_a_gpu_is_bad_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert speed.main(["--device", "cuda"]) == 2
    assert "no GPU is visible" in capsys.readouterr().err


def test_json_is_one_list_and_a_missed_target_no_failure(
    own: dict[str, Pair], capsys: pytest.CaptureFixture[str]
) -> None:
    def chatty() -> Work:
        print("a side that prints")
        return Work(3.0, 1, 10)

    own["own/pair"] = pair(lambda _: (chatty, costs(2, 2, 2)))
    assert speed.main(["--json", "--repeats", "3"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row.keys() >= {"pair", "ratio", "low", "high", "at_most", "device"}
    assert (row["pair"], row["ratio"], row["met"], row["device"]) == ("own/pair", 1.5, False, "cpu")
    own["own/pair"] = pair(lambda _: (lambda: Work(3.0, 1, 10), costs(2, 2, 2)))
    assert speed.main(["own/*", "--repeats", "3"]) == 0
    assert "✘ missed" in capsys.readouterr().out


def test_writing_keeps_the_rows_of_other_devices(
    own: dict[str, Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, readme = tmp_path / "speed" / "speed.json", tmp_path / "README.md"
    readme.write_text("before\n<!-- speed -->\nold\n<!-- end -->\nafter\n")
    monkeypatch.setattr(_record, "FILE", file)
    monkeypatch.setattr(_record, "README", readme)
    _record.keep([ROW | {"device": "cuda"}], "cuda", ABOUT)
    own["own/pair"] = pair(lambda _: (costs(1, 1, 1), costs(2, 2, 2)))
    assert speed.main(["--write", "--repeats", "3"]) == 0
    kept = _record.read()
    assert [row["pair"] for row in kept["cuda"]["rows"]] == ["a/b"]
    assert [row["ratio"] for row in kept["cpu"]["rows"]] == [0.5]
    assert kept["cpu"].keys() >= {"date", "machine", "versions", "commit", "threads", "repeats"}
    assert kept["cpu"]["machine"].keys() >= {"cpu", "cores", "memory_bytes"}
    text = readme.read_text()
    assert text == _record.filled(text, kept)
    assert text.startswith("before\n<!-- speed -->\n\n| pair |")
    assert "| a/b |" in text
    assert "| own/pair |" in text
    assert text.endswith("<!-- end -->\nafter\n")


def test_the_readmes_table_is_that_of_the_kept_rows() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert _record.filled(text, _record.read()) == text, "make it again: python -m benchmarks.speed --write"


def test_the_table_as_a_reader_sees_it() -> None:
    lines = _record.table([ROW], [_record.said(ABOUT)]).markdown().splitlines()
    assert lines[2] == "| a/b | x | step | 0.25 × [0.2, 0.3] | ≤ 0.5 × | 20 µs | 80 µs | – | ✔ met |"
    assert lines[-1] == (
        "Measured on 2026-01-01, C, 2 cores, 16 GiB: 1 thread, 3 turns of each side; torch 2, lightning 3, commit abc."
    )
    assert _record.block({}) == "Not measured yet."


@pytest.mark.parametrize("stacked", [False, True])
def test_both_sides_of_a_small_pair_do_equal_work(stacked: bool, tmp_path: Path) -> None:
    """Equal weights, batches and steps end at equal losses, up to float32 rounding of 30 steps.

    Alone the operations are the same ones, and so are the bits; a stack adds up in another order.
    """
    first, second = sides(Place("cpu", tmp_path), Sizes(16, 4, 8), seeds=2, steps=10, stacked=stacked)
    a, b = first(), second()
    assert (a.units, a.samples) == (b.units, b.samples) == (20, 160)
    assert a.loss == pytest.approx(b.loss, rel=1e-5 if stacked else 1e-7)
    assert a.start_up is not None
    assert a.start_up > 0


def test_an_epoch_from_memory_sees_the_harness_s_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random images in place of Fashion-MNIST's: the same order, and batch statistics, end at the same loss."""
    import torch

    from datamodules import FashionMNIST

    def raw(self: FashionMNIST, split: str) -> tuple[torch.Tensor, torch.Tensor]:
        draw = torch.Generator().manual_seed(len(split))
        count = self.spec.sizes[split] // 50
        images = torch.randint(0, 256, (count, 1, 28, 28), generator=draw, dtype=torch.uint8)
        return images, torch.randint(0, 10, (count,), generator=draw)

    monkeypatch.setattr(FashionMNIST, "raw", raw)
    monkeypatch.setattr(FashionMNIST, "_root", lambda self: tmp_path)
    settings, place = resnet(batches=3, batch=16), Place("cpu", tmp_path)
    a, b = ours(settings, place), from_memory(settings, place)()
    assert (a.units, a.samples) == (b.units, b.samples) == (3, 48)
    assert a.loss == pytest.approx(b.loss, rel=1e-6)


def test_a_fixed_cost_is_from_a_run_s_end_to_the_next_one_s_first_step() -> None:
    told = [(0.0, "start"), (9.0, "step"), (10.0, "end"), (10.1, "start"), (10.5, "step"), (11.0, "step")]
    told += [(12.0, "end"), (12.2, "start"), (13.0, "step"), (14.0, "end")]
    assert list(before_first_steps(told)) == [0.5, 1.0]

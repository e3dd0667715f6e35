"""Bad input: each mistake has its message, exit status 2, and nothing is started."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from benchmarks import documents, launch
from benchmarks.run import main
from zoo import _registry

BAD = sorted((Path(__file__).parent / "bad").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _nothing_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a Run was started")

    monkeypatch.setattr(launch.LocalLauncher, "launch", refuse)
    monkeypatch.setenv("ZOO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(Path(__file__).parents[2])


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The message of an invocation that must end with status 2."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert not printed.out
    return printed.err


def agrees(message: str, golden: str) -> bool:
    """Whether every line is the golden one; a golden line may end with … for text that is not ours."""
    pairs = list(zip(message.splitlines(), golden.splitlines(), strict=False))
    same = len(message.splitlines()) == len(golden.splitlines())
    return same and all(ours.startswith(line[:-1]) if line.endswith("…") else ours == line for ours, line in pairs)


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_file_is_explained(path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    message = refused(capsys, os.path.relpath(path), "--results", str(tmp_path / "results"))
    golden = path.with_suffix(".txt").read_text(encoding="utf-8")
    assert agrees(message, golden), message
    assert not (tmp_path / "results").exists()


def explained(text: str) -> str:
    return textwrap.dedent(text).strip()


def test_an_unknown_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    golden = explained(
        """
        error: 1 problem, nothing was started

        command line: mean_field/od_target
          unknown benchmark 'mean_field/od_target'
          did you mean mean_field/odd_target…
          choices: python -m benchmarks.run --list
        """
    )
    message = refused(capsys, "mean_field/od_target").strip()
    assert agrees(message, golden), message


def test_an_unknown_suite(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "--suite", "quik").strip() == explained(
        """
        error: 1 problem, nothing was started

        command line: --suite
          unknown suite 'quik'; expected one of differential, full, graph, mean_field, quick, sparse, stochastic
          did you mean quick?
        """
    )


def test_unknown_keys_of_set(capsys: pytest.CaptureFixture[str]) -> None:
    settings = ("--set", "trainr.max_steps=3", "--set", "models.wid.init_args.width=3", "--set", "seeds.count=3")
    message = refused(capsys, "mean_field/odd_target", *settings)
    assert "command line: --set trainr.max_steps\n  unknown key 'trainr'" in message
    assert (
        "command line: --set models.wid.init_args.width\n  unknown model label 'wid'; expected one of wide, narrow"
        in message
    )
    assert "did you mean wide?" in message
    assert "command line: --set seeds.count\n  'seeds' is 5, not a mapping: it has no key 'count'" in message


def test_an_unknown_argument_by_set_is_found_where_it_lands(capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "mean_field/odd_target", "--set", "models.wide.init_args.widht=3")
    assert "odd_target.yaml: models.wide.init_args.widht\n  unknown argument of TwoLayerReLU: 'widht'" in message
    assert "did you mean width?" in message


def test_a_setting_that_a_sweep_would_undo(capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "mean_field/dimension", "--set", "data.init_args.dim=50")
    assert (
        "--set data.init_args.dim\n  network is swept over it: give --set 'sweep={data.init_args.dim: [50]}'" in message
    )
    key = "models.relinearised.init_args.every"
    message = refused(capsys, "mean_field/iterative_linearisation", "--set", f"{key}=0")
    assert f"--set {key}\n  relinearised is swept over it: give --set 'models.relinearised.sweep=" in message


def test_set_without_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--set trainer\n  expected KEY=VALUE" in refused(capsys, "mean_field/odd_target", "--set", "trainer")


def test_zero_seeds_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "seeds\n  expected a count of at least 1" in refused(capsys, "mean_field/odd_target", "--seeds", "0")


def test_more_devices_than_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "mean_field/odd_target", "--devices", "9999")
    assert "command line: --devices\n  expected auto or a count from 1 to" in message


@pytest.mark.parametrize("value", ["-1", "nan", "inf"])
def test_a_time_between_snapshots_that_is_none(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "mean_field/odd_target", f"--checkpoint-every={value}")
    assert "command line: --checkpoint-every\n  expected seconds, 0 or more, got " in message


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no file mine.yaml in" in refused(capsys, "mine.yaml")


def test_an_unwritable_results_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    message = refused(capsys, "mean_field/odd_target", "--results", str(tmp_path / "file" / "results"))
    assert f"command line: --results\n  cannot write results to {tmp_path}/file/results" in message


def test_missing_data_of_a_benchmark_named_exactly(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.FashionMNIST.download", unreachable)
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.setenv("ZOO_DATA_DIR", str(folder))
    message = refused(capsys, "residual/fashion_mnist", "--data-dir", str(folder))
    assert "fashion_mnist.yaml: data\n" in message
    assert "FashionMNIST/raw/train-images-idx3-ubyte" in message
    assert str(folder) in message
    assert "python -c" in message
    assert "download=True" in message


def test_two_classes_of_one_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for family in ("one", "two"):
        (tmp_path / family).mkdir()
        (tmp_path / family / "__init__.py").write_text("")
        (tmp_path / family / "net.py").write_text("class Net(ZooModule): ...")
    with pytest.raises(ValueError, match=r"class name 'Net' stands twice, in zoo.one.net and in zoo.two.net: .*rename"):
        _registry.entries(tmp_path)
    original = _registry.entries
    monkeypatch.setattr(_registry, "entries", lambda: original(tmp_path))
    assert "zoo\n  class name 'Net' stands twice" in refused(capsys, "mean_field/odd_target")


def test_exponents_without_a_point_are_numbers() -> None:
    assert documents.parse("[1e-3, 2E5, -1.5e+2, .5, 3, 1_000.0, 1.2.3, e5]") == [
        *(1e-3, 2e5, -150.0, 0.5, 3, 1000.0),
        *("1.2.3", "e5"),
    ]

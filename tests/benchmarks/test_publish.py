"""Publishing: from a finished Run to weights that load, and what is refused with nothing written."""

from __future__ import annotations

import copy
import json
import math
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import zoo
from benchmarks import publish, store
from benchmarks.run import main as run
from benchmarks.store import Result
from benchmarks.verdicts import t_interval
from datamodules import Moons, Spirals
from tests.benchmarks.shapes import Line
from tests.benchmarks.test_execution import every_shape

#: Models with data of their own: a series of three inputs, and a density.
OWN = {
    "series": {
        "class_path": "zoo.differential.NeuralCDE",
        "init_args": {"width": 4},
        "data": {"class_path": "datamodules.Spirals", "init_args": {"length": 8, "missing": 0.3, "train_size": 8}},
    },
    "density": {
        "class_path": "zoo.differential.ContinuousNormalisingFlow",
        "init_args": {"hidden_features": 4, "steps": 1},
        "data": {"class_path": "datamodules.Moons", "init_args": {"steps_per_epoch": 2, "test_size": 20}},
    },
}
NAMES = {"supervised": "linear", "staged": "staged", "ridge": "ridge", "saliency": "saliency", "pendulum": "pendulum"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of every shape of training with two seeds, and of two more settings of one of them."""
    folder = tmp_path_factory.mktemp("published")
    document = every_shape() | {"seeds": 2}
    document["models"] |= copy.deepcopy(OWN)
    other = copy.deepcopy(document["models"]["supervised"])
    document["models"]["swept"] = other | {"sweep": {"model.init_args.lr": [0.01, 0.05]}}
    (folder / "own.yaml").write_text(yaml.safe_dump(document))
    arguments = ["--results", str(folder / "results"), "--wandb", "disabled", "--json"]
    assert run([str(folder / "own.yaml"), *arguments]) == 0
    return folder / "results"


@pytest.fixture
def results(trained: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(trained, tmp_path / "results"))


def finished(results: Path, label: str, seed: int = 0) -> Result:
    return next(r for r in store.results(results) if (r.model, r.seed) == (label, seed))


def changed(result: Result, **changes: Any) -> None:
    path = Path(result.folder) / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(capsys: pytest.CaptureFixture[str], results: Path, run_id: str, name: str, *more: str) -> str:
    """What the command says on standard error; nothing has been written, but for what lay there before."""
    to = results.parent / "weights"
    before = {path: path.read_bytes() for path in to.rglob("*")}
    assert publish.main([run_id, name, "--results", str(results), "--to", str(to), *more]) == 2
    assert {path: path.read_bytes() for path in to.rglob("*")} == before
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


@pytest.mark.parametrize("label", list(NAMES))
def test_every_shape_of_training_can_be_published(
    results: Path, label: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = finished(results, label)
    to, name = results.parent / "weights", f"{NAMES[label]}.line_1"
    assert publish.main([result.id[:10], name, "--results", str(results), "--to", str(to)]) == 0
    assert capsys.readouterr().out.strip() == str(to / f"{name}.json")
    assert sorted(path.name for path in to.iterdir()) == [f"{name}.json", f"{name}.safetensors"]
    x = Line().load("test")[0]
    trained = zoo.restore(result.config()["model"] | {"checkpoint": f"{result.folder}/checkpoint.ckpt"})
    expected = trained(x)
    shutil.rmtree(results)  # the weights stand alone
    assert torch.equal(zoo.load(str(to / f"{name}.json")).predict(x), expected)


def test_weights_of_a_series_take_values_with_gaps_and_times(results: Path) -> None:
    result = finished(results, "series")
    loaded = zoo.load(publish.publish(result.id, "neuralcde.line", results, results.parent))
    assert loaded.card is not None
    expected = {"values": ([8, 2], "float32"), "mask": ([8, 2], "bool"), "times": ([8], "float32")}
    for (name, (shape, dtype)), told in zip(expected.items(), loaded.card["input"], strict=True):
        assert told == {
            "name": name,
            "raw_shape": shape,
            "raw_dtype": dtype,
            "shape": shape,
            "dtype": dtype,
            "preprocessing": [],
        }
    assert loaded.card["classes"] == ["anticlockwise", "clockwise"]
    values, mask, times, labels = Spirals(length=8, missing=0.3).load("test")
    logits = loaded.predict(torch.where(mask, values, torch.nan), times=times)
    told = loaded.card["metrics"]["test/accuracy"]["value"]
    assert float((logits.argmax(1) == labels).float().mean()) == pytest.approx(told, abs=1e-6)


def test_weights_of_a_density_give_that_of_raw_points(results: Path) -> None:
    result = finished(results, "density")
    loaded = zoo.load(publish.publish(result.id, "continuousnormalisingflow.line", results, results.parent))
    assert loaded.card is not None
    assert loaded.card["classes"] is None
    data = Moons(test_size=20)
    loss = -loaded.predict(data.raw("test")[0]).mean()
    # half a unit of the raw plane is one of the batches'
    assert float(loss) == pytest.approx(loaded.card["metrics"]["test/loss"]["value"] - 2 * math.log(2), abs=1e-5)


def test_a_card_tells_the_metrics_over_all_seeds_of_the_same_settings(results: Path) -> None:
    result = finished(results, "supervised", 1)
    card = zoo.info(str(publish.publish(result.id, "linear.line", results, results.parent)))
    losses = [finished(results, "supervised", seed).metrics["test/loss"] for seed in (0, 1)]
    assert card["metrics"].keys() == {"test/loss"}
    told = card["metrics"]["test/loss"]
    assert (told["value"], told["n"]) == (losses[1], 2)
    assert told["mean"] == pytest.approx(sum(losses) / 2, rel=1e-15)
    assert tuple(told["interval"]) == t_interval(losses)
    assert (card["seed"], card["seeds"], card["recomputed"]) == (1, [0, 1], ["test/loss"])


def test_the_points_of_a_sweep_are_not_mixed(results: Path) -> None:
    result = finished(results, "swept")
    card = zoo.info(str(publish.publish(result.id, "linear.line", results, results.parent)))
    assert card["init_args"]["lr"] == result.point["model.init_args.lr"]
    assert card["metrics"]["test/loss"]["n"] == 2


def test_a_card_tells_where_the_weights_come_from(results: Path) -> None:
    result = finished(results, "supervised")
    changed(result, benchmark="residual/digits")
    card = zoo.info(str(publish.publish(result.id, "linear.line", results, results.parent)))
    assert card["title"] == "A small residual network on 8×8 digits"
    assert card["citation"].startswith("@")
    assert (
        card["summary"] == "Supervised: least squares by gradient descent, with dropout so that random states matter."
    )
    assert card["class_path"] == "tests.benchmarks.shapes.Linear"
    assert card["data"] == {
        "class_path": "tests.benchmarks.shapes.Line",
        "init_args": result.config()["data"]["init_args"],
    }
    assert card["config"] == result.config()
    shapes = {"raw_shape": [2], "raw_dtype": "float32", "shape": [2], "dtype": "float32", "preprocessing": []}
    assert (card["input"], card["classes"]) == (shapes, None)
    assert card["licence"] == {"weights": "Apache-2.0", "data": ""}
    for key in ("commit", "device", "threads", "started", "params", "versions"):
        assert card[key] == getattr(result, key)


def test_a_users_own_benchmark_has_neither_title_nor_citation(results: Path) -> None:
    path = publish.publish(finished(results, "ridge").id, "ridge.line", results, results.parent)
    card = zoo.info(str(path))
    assert (card["benchmark"], card["title"], card["citation"]) == ("own", "", "")


def test_a_nested_models_run_and_file_are_not_on_the_card(results: Path) -> None:
    path = publish.publish(finished(results, "saliency").id, "saliency.line", results, results.parent)
    explained = zoo.info(str(path))["init_args"]["explained"]
    assert explained.keys() == {"class_path", "init_args"}


def test_a_taken_name_is_replaced_only_on_request(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = results.parent / "weights"
    first, second = finished(results, "supervised", 0), finished(results, "supervised", 1)
    publish.publish(first.id, "linear.line", results, to)
    message = refused(capsys, results, second.id, "linear.line")
    assert "linear.line.json is there already: choose another name, or give --replace" in message
    publish.publish(second.id, "linear.line", results, to, replace=True)
    loaded = zoo.load(str(to / "linear.line.json"))
    assert loaded.card is not None
    assert loaded.card["run_id"] == second.id


def test_an_id_in_two_folders_is_made_clear_by_the_folder(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = finished(results, "ridge")
    shutil.copytree(result.folder, results / "merged" / result.id)
    assert "fits 2 Runs" in refused(capsys, results, result.id, "ridge.line")
    assert publish.publish(result.id, "ridge.line", results / "merged", results.parent).is_file()


@pytest.mark.parametrize(
    ("run_id", "message"),
    [
        ("zzzz", "no Run 'zzzz' in .*; benchmarks.store.load"),
        ("", "expected at least 4 characters of an id, got ''"),
    ],
)
def test_an_unknown_and_an_ambiguous_run_are_refused(
    results: Path, capsys: pytest.CaptureFixture[str], run_id: str, message: str
) -> None:
    said = refused(capsys, results, run_id, "linear.line")
    assert pytest.raises(AssertionError, match=message).matches(AssertionError(said))


@pytest.mark.parametrize(
    "name", ["Linear.line", "line", "linear", "linear.", "linear.a-b", "ridge.line", "../linear.a"]
)
def test_a_name_that_does_not_fit_is_refused(results: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    said = refused(capsys, results, finished(results, "supervised").id, name)
    assert f"expected linear.TAG for this Run's class, TAG of lower-case letters, digits and '_'; got {name!r}" in said


def test_a_failed_run_is_refused_with_its_reason(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = finished(results, "supervised")
    changed(result, status="failed", error="RuntimeError: no luck")
    said = refused(capsys, results, result.id, "linear.line")
    assert f"Run {result.id} is not finished but failed: RuntimeError: no luck" in said


def test_a_missing_checkpoint_is_refused(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = finished(results, "supervised")
    (Path(result.folder) / "checkpoint.ckpt").unlink()
    assert "checkpoint.ckpt: run the benchmark again with --force" in refused(capsys, results, result.id, "linear.line")


class Malicious:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("save", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing, protocol=2))])
def test_a_checkpoint_that_holds_objects_is_refused_and_not_executed(
    results: Path, capsys: pytest.CaptureFixture[str], save: Any
) -> None:
    result, touched = finished(results, "supervised"), results / "executed"
    save({"state_dict": Malicious(touched)}, Path(result.folder) / "checkpoint.ckpt")
    assert "is no checkpoint of weights alone" in refused(capsys, results, result.id, "linear.line")
    assert not touched.exists()


@pytest.mark.parametrize("replace", [[], ["--replace"]])
def test_weights_of_other_metrics_are_refused(
    results: Path, capsys: pytest.CaptureFixture[str], replace: list[str]
) -> None:
    result = finished(results, "supervised")
    if replace:
        publish.publish(result.id, "linear.line", results, results.parent / "weights")
    loss = result.metrics["test/loss"]
    changed(result, metrics={**result.metrics, "test/loss": loss * (1 + 3e-5)})
    said = refused(capsys, results, result.id, "linear.line", *replace)
    assert f"the weights have test/loss = {loss!r}, the Result says" in said


def test_a_folder_that_cannot_be_written_to_is_refused(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (results.parent / "file").touch()
    arguments = ["--results", str(results), "--to", str(results.parent / "file")]
    assert publish.main([finished(results, "ridge").id, "ridge.line", *arguments]) == 2
    assert "--to\n  cannot be written to: " in capsys.readouterr().err


def test_a_metric_that_is_drawn_at_random_is_refused(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "the weights have test/loss" in refused(capsys, results, finished(results, "gan").id, "tinygan.line")


def test_a_metric_of_a_callback_is_told_and_not_computed_again(results: Path) -> None:
    result = finished(results, "supervised")
    changed(result, metrics={**result.metrics, "test/of_the_training": 7.0})
    card = zoo.info(str(publish.publish(result.id, "linear.line", results, results.parent)))
    assert card["metrics"]["test/of_the_training"] == {"value": 7.0, "mean": 7.0, "interval": None, "n": 1}
    assert card["recomputed"] == ["test/loss"]


def test_weights_that_do_not_fit_their_configuration_are_refused(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = finished(results, "supervised")
    path = Path(result.folder) / "checkpoint.ckpt"
    saved = torch.load(path, weights_only=True)
    saved["state_dict"]["line.weight"] = torch.zeros(1, 3)
    torch.save(saved, path)
    said = refused(capsys, results, result.id, "linear.line")
    assert "the written weights cannot be tried: " in said
    assert "the tensors do not fit" in said


def test_preprocessing_that_does_not_make_the_batches_is_refused(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Line, "preprocessing", [["divide", 2.0]])
    said = refused(capsys, results, finished(results, "supervised").id, "linear.line")
    assert "Line: preprocessing [['divide', 2.0]] does not make its batches of raw('test')" in said

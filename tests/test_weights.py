"""Weights: what is loaded, and what is refused with nothing of it executed."""

from __future__ import annotations

import hashlib
import json
import pickle
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from tests.benchmarks.shapes import Linear, Saliency
from zoo import _weights
from zoo._module import ZooModule
from zoo.differential import NeuralCDE

ROOT = Path(__file__).parents[1]
SHAPES = "tests.benchmarks.shapes"


def described(model: ZooModule, **changes: Any) -> dict[str, Any]:
    """A card of a model of the test's own."""
    shapes = {"raw_shape": [2], "raw_dtype": "float32", "shape": [2], "dtype": "float32"}
    return {
        "name": "linear.line",
        "summary": "A line.",
        "class_path": f"{SHAPES}.{type(model).__name__}",
        "init_args": dict(model.hparams),
        "data": {"class_path": f"{SHAPES}.Line", "init_args": {}},
        "benchmark": "own",
        "seed": 0,
        "input": {**shapes, "preprocessing": [["divide", 2.0]]},
        "classes": None,
        "metrics": {"test/loss": {"value": 0.125, "mean": 0.125, "interval": None, "n": 1}},
        "recomputed": ["test/loss"],
        **changes,
    }


def driven(folder: Path) -> Path:
    """The card of a model of three inputs."""
    model = NeuralCDE(2, 3, width=4)
    shapes = {"values": ([9, 2], "float32"), "mask": ([9, 2], "bool"), "times": ([9], "float32")}
    inputs = [
        {"name": n, "raw_shape": shape, "raw_dtype": dtype, "shape": shape, "dtype": dtype, "preprocessing": []}
        for n, (shape, dtype) in shapes.items()
    ]
    card = described(model, name="neuralcde.own", class_path="zoo.differential.NeuralCDE", input=inputs)
    return _weights.write(folder, _weights.encode(model.state_dict()), card)


@pytest.fixture
def model() -> Linear:
    return Linear(2, dropout=0.5)


@pytest.fixture
def made(tmp_path: Path, model: Linear) -> Path:
    """The card of the model's weights."""
    return _weights.write(tmp_path, _weights.encode(model.state_dict()), described(model))


def tensors_of(card: Path) -> Path:
    return card.with_name("linear.line.safetensors")


def changed(card: Path, **changes: Any) -> None:
    card.write_text(json.dumps(json.loads(card.read_text()) | changes))


def exchanged(card: Path, content: bytes) -> None:
    """Other content in the tensor file, and its hash in the card."""
    tensors_of(card).write_bytes(content)
    changed(card, sha256=hashlib.sha256(content).hexdigest())


class Malicious:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("of", ["card", "tensors"])
def test_loaded_weights_predict_as_the_model_that_was_saved(made: Path, model: Linear, of: str) -> None:
    loaded = zoo.load(str(made if of == "card" else tensors_of(made)))
    assert isinstance(loaded, Linear)
    assert not loaded.training
    x = torch.randn(5, 2)
    assert torch.equal(loaded.predict(2 * x), model.eval()(x))
    assert loaded.card == json.loads(made.read_text()) == zoo.info(str(made))


def test_a_card_is_no_state_and_survives_pickling(made: Path, model: Linear) -> None:
    loaded = zoo.load(str(made))
    assert loaded.state_dict().keys() == model.state_dict().keys()
    copy = pickle.loads(pickle.dumps(loaded))  # noqa: S301
    assert copy.card == loaded.card
    assert torch.equal(copy.predict(torch.ones(1, 2)), loaded.predict(torch.ones(1, 2)))


def test_loading_leaves_the_random_numbers_alone(made: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    zoo.load(str(made))
    assert torch.equal(torch.rand(3), expected)


def test_shared_and_strided_tensors_are_stored_whole() -> None:
    import safetensors.torch

    base = torch.arange(6.0).reshape(2, 3)
    read = safetensors.torch.load(_weights.encode({"a": base, "b": base, "c": base.T, "d": torch.tensor(3)}))
    assert [read[key].tolist() for key in "abcd"] == [base.tolist(), base.tolist(), base.T.tolist(), 3]


def test_a_nested_model_is_rebuilt_without_its_checkpoint(tmp_path: Path, model: Linear) -> None:
    inner = {"class_path": f"{SHAPES}.Linear", "init_args": {"in_features": 2}}
    outer = Saliency(2, explained=inner)
    arguments = {"in_features": 2, "explained": {**inner, "checkpoint": "/nowhere/checkpoint.ckpt", "from": "0123"}}
    card = described(outer, init_args=arguments)
    loaded = zoo.load(str(_weights.write(tmp_path, _weights.encode(outer.state_dict()), card)))
    x = torch.randn(3, 2)
    assert torch.equal(loaded.predict(2 * x), outer(x))


def test_a_model_of_several_inputs_is_loaded_and_predicts(tmp_path: Path) -> None:
    loaded, times = zoo.load(driven(tmp_path)), torch.arange(9.0)
    values = torch.randn(5, 9, 2)
    with torch.no_grad():
        expected = loaded(values, torch.ones(5, 9, 2, dtype=torch.bool), times.expand(5, 9))
    assert torch.equal(loaded.predict(values, times=times), expected)
    assert [given["name"] for given in zoo.info(str(driven(tmp_path)))["input"]] == ["values", "mask", "times"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda inputs: [], r"a broken card \(input is \[\]\)"),
        (lambda inputs: inputs[:2], ".*forward takes values, mask and times, and the card describes values and mask"),
        (lambda inputs: inputs[::-1], ".*the card describes times, mask and values"),
        (lambda inputs: [*inputs[:2], {"name": "times"}], r"a broken card \(no key 'input\[2\].raw_shape'\)"),
        (lambda inputs: [*inputs[:2], {"raw_shape": [9]}], r"a broken card \(no key 'input\[2\].name'\)"),
        (lambda inputs: [*inputs[:2], 3], r"a broken card \(expected a mapping, got int\)"),
        (lambda inputs: inputs[0], ".*forward takes values, mask and times, and the card describes one input"),
        (lambda inputs: [inputs[0] | {"preprocessing": [["divide", [1, 2, 3]]]}, *inputs[1:]], ".*makes no sense"),
    ],
)
def test_a_card_of_other_inputs_than_the_models_is_refused(tmp_path: Path, change: Any, problem: str) -> None:
    path = driven(tmp_path)
    changed(path, input=change(json.loads(path.read_text())["input"]))
    with pytest.raises(zoo.WeightsError, match=f"neuralcde.own.json: {problem}"):
        zoo.load(path)


@pytest.mark.parametrize("call", [zoo.load, zoo.info])
def test_an_unknown_name_is_refused_with_the_closest(
    made: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[[str], Any]
) -> None:
    monkeypatch.setattr(_weights, "FOLDER", made.parent)
    assert zoo.list_weights() == zoo.list_weights("linear.*") == ["linear.line"]
    assert zoo.list_weights("fcn.*") == []
    assert call("linear.line")
    with pytest.raises(ValueError, match=r"unknown .*weights 'linear.lin'; did you mean linear.line\b.*list_weights"):
        call("linear.lin")


def truncated(card: Path) -> None:
    tensors_of(card).write_bytes(tensors_of(card).read_bytes()[:-3])


def flipped(card: Path) -> None:
    content = bytearray(tensors_of(card).read_bytes())
    content[-1] ^= 1
    tensors_of(card).write_bytes(content)


def pickled(card: Path) -> None:
    tensors_of(card).write_bytes(pickle.dumps(Malicious(card.parent / "executed")))


def of_another(card: Path) -> None:
    changed(card, sha256=hashlib.sha256(b"another file").hexdigest())


@pytest.mark.parametrize("damage", [truncated, flipped, pickled, of_another])
def test_a_file_that_is_not_the_cards_is_refused_with_both_hashes(made: Path, damage: Callable[[Path], None]) -> None:
    damage(made)
    expected = json.loads(made.read_text())["sha256"]
    actual = hashlib.sha256(tensors_of(made).read_bytes()).hexdigest()
    with pytest.raises(
        zoo.WeightsError, match=rf"linear.line.safetensors: .*expected SHA-256 {expected}, got {actual}"
    ):
        zoo.load(str(made))
    assert not (made.parent / "executed").exists()


def test_a_pickle_with_its_own_hash_in_the_card_is_refused_unread(made: Path) -> None:
    content = pickle.dumps(Malicious(made.parent / "executed"))
    exchanged(made, content)
    actual = hashlib.sha256(content).hexdigest()
    with pytest.raises(zoo.WeightsError, match=rf"linear.line.safetensors: no safetensors file .*{actual}"):
        zoo.load(str(made))
    assert not (made.parent / "executed").exists()


@pytest.mark.parametrize("gone", [".json", ".safetensors"])
def test_an_absent_file_is_named(made: Path, gone: str) -> None:
    (made.parent / f"linear.line{gone}").unlink()
    with pytest.raises(zoo.WeightsError, match=rf"linear\.line\{gone}: no "):
        zoo.load(str(made))


@pytest.mark.parametrize(
    ("text", "problem"),
    [("[" * 100_000, "recursion"), ("{", "Expecting"), ("[]", "a mapping, got list"), ("\xff", "Expecting")],
)
def test_a_broken_card_is_named(made: Path, text: str, problem: str) -> None:
    made.write_text(text)
    with pytest.raises(zoo.WeightsError, match=rf"linear.line.json: a broken card \(.*{problem}"):
        zoo.load(str(made))


@pytest.mark.parametrize("key", [*_weights.NEEDED, *(f"input.{key}" for key in _weights.NEEDED_INPUT)])
def test_a_card_without_a_key_names_it(made: Path, key: str) -> None:
    card = json.loads(made.read_text())
    del (card["input"] if "." in key else card)[key.removeprefix("input.")]
    made.write_text(json.dumps(card))
    with pytest.raises(zoo.WeightsError, match=rf"linear.line.json: a broken card \(no key '{key}'\)"):
        zoo.load(str(made))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"class_path": "os.system"}, "os.system is no ZooModule"),
        ({"class_path": "..os.system"}, "its class is ..os.system; import ..os first"),
        ({"class_path": "torch.nn.Linear"}, "torch.nn.Linear is no ZooModule"),
        ({"class_path": "zoo.no_family.Net"}, "no class 'zoo.no_family.Net'"),
        ({"class_path": "Linear"}, "its class is Linear; import "),
        ({"init_args": {"in_features": 10**13}}, ".*Linear cannot be built from this card"),
        ({"init_args": {"in_features": 2, "depth": 3}}, ".*Linear cannot be built from this card: .*depth"),
        ({"init_args": {"in_features": 2, "lr": -1}}, ".*Linear cannot be built from this card: lr must be positive"),
        ({"init_args": 3}, r"a broken card \(init_args is 3\)"),
        ({"sha256": None}, r"a broken card \(sha256 is None\)"),
    ],
)
def test_a_card_that_describes_no_model_is_refused(made: Path, changes: dict[str, Any], problem: str) -> None:
    changed(made, **changes)
    with pytest.raises(zoo.WeightsError, match=f"linear.line.json: {problem}"):
        zoo.load(str(made))


def test_nothing_but_models_is_built_from_a_card(made: Path) -> None:
    touched = made.parent / "executed"
    nested = {"class_path": "subprocess.run", "init_args": {"args": ["touch", str(touched)]}}
    changed(made, class_path=f"{SHAPES}.Saliency", init_args={"in_features": 2, "explained": nested})
    with pytest.raises(zoo.WeightsError, match=r"subprocess.run is no ZooModule: nothing else is built"):
        zoo.load(str(made))
    assert not touched.exists()


def test_nothing_outside_the_zoo_is_imported_on_a_cards_word(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (made.parent / "lurking.py").write_text("import pathlib; pathlib.Path(__file__).with_name('executed').touch()")
    monkeypatch.syspath_prepend(str(made.parent))
    changed(made, class_path="lurking.Model")
    with pytest.raises(zoo.WeightsError, match=r"its class is lurking.Model; import lurking first, if you trust it"):
        zoo.load(str(made))
    assert not (made.parent / "executed").exists()


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("preprocessing", [["exec", 1]], r"a step of preprocessing is \[at_least"),
        ("preprocessing", [["divide", "2"]], r"got \['divide', '2'\]"),
        ("preprocessing", [["divide", 0]], r"makes no sense: \['divide', 0\]"),
        ("preprocessing", [["divide", [1, 0.0]]], r"makes no sense: \['divide', \[1, 0.0\]\]"),
        ("preprocessing", [["subtract", [1, 2, 3]]], r"makes no sense: \['subtract', \[1, 2, 3\]\]"),
        ("preprocessing", [["subtract", [1, "2"]]], r"got \['subtract', \[1, '2'\]\]"),
        ("preprocessing", [["standardise", [0, 1]]], r"makes no sense: \['standardise', \[0, 1\]\]"),
        ("preprocessing", [["standardise", 0.5]], r"makes no sense: \['standardise', 0.5\]"),
        ("raw_shape", [1, True], "raw_shape must be a list of whole numbers"),
        ("dtype", "load", "dtype must be a dtype of torch, got 'load'"),
        ("raw_shape", ["N"], "raw_shape must be a list of whole numbers"),
    ],
)
def test_a_card_of_impossible_input_is_refused(made: Path, key: str, value: Any, problem: str) -> None:
    changed(made, input={**json.loads(made.read_text())["input"], key: value})
    with pytest.raises(zoo.WeightsError, match=f"linear.line.json: .*{problem}"):
        zoo.load(str(made))


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ({"line.weight": torch.zeros(1, 2)}, "no tensor 'line.bias'"),
        ({"line.weight": torch.zeros(1, 2), "line.bias": torch.zeros(1), "a": torch.zeros(1)}, "it has no 'a'"),
        ({"line.weight": torch.zeros(1, 3), "line.bias": torch.zeros(1)}, r"line.weight is \(1, 3\) of"),
        ({"line.weight": torch.zeros(1, 2).double(), "line.bias": torch.zeros(1)}, r".*float64, expected \(1, 2\) of"),
    ],
)
def test_tensors_that_do_not_fit_the_class_are_refused(made: Path, state: dict[str, Any], problem: str) -> None:
    exchanged(made, _weights.encode(state))
    with pytest.raises(zoo.WeightsError, match=rf"linear.line.safetensors: the tensors do not fit .*Linear: {problem}"):
        zoo.load(str(made))


def test_listing_and_describing_weights_import_no_torch(made: Path) -> None:
    script = (
        "import sys, zoo, zoo._weights as w, pathlib; w.FOLDER = pathlib.Path(sys.argv[1]); "
        "print(zoo.list_weights(), zoo.info('linear.line')['name'], {'torch', 'numpy'} & set(sys.modules))"
    )
    ask = [sys.executable, "-c", script, str(made.parent)]
    done = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['linear.line'] linear.line set()"


def hub_entries() -> list[str]:
    """What torch.hub.list would show of the repository."""
    names = runpy.run_path(str(ROOT / "hubconf.py"))
    return sorted(name for name, value in names.items() if callable(value) and not name.startswith("_"))


def test_the_hub_has_an_entry_for_all_weights(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_weights, "FOLDER", made.parent)
    assert hub_entries() == ["linear_line"]
    told = runpy.run_path(str(ROOT / "hubconf.py"))["linear_line"].__doc__
    assert told == (
        "A line.\n\nTrained in the benchmark own on tests.benchmarks.shapes.Line, seed 0: test/loss 0.125.\n"
        "`predict` takes float32 of shape (N, 2)."
    )
    loaded = torch.hub.load(str(ROOT), "linear_line", source="local")
    assert torch.equal(loaded.predict(torch.ones(1, 2)), zoo.load("linear.line").predict(torch.ones(1, 2)))


def test_the_hub_names_each_of_several_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driven(tmp_path)
    monkeypatch.setattr(_weights, "FOLDER", tmp_path)
    told = runpy.run_path(str(ROOT / "hubconf.py"))["neuralcde_own"].__doc__
    assert told.endswith(
        "\n`predict` takes values float32 of shape (N, 9, 2), mask bool of shape (N, 9, 2), "
        "times float32 of shape (N, 9)."
    )

"""From raw input to predictions: the steps of a card, the data modules' own, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules import MNIST, UCR, ArrayDataModule, Digits, FashionMNIST, OddTarget
from tests.benchmarks.shapes import Linear, Saliency
from tests.datamodules.test_images import write_small
from zoo._module import ZooModule
from zoo._preprocessing import preprocess

BUNDLED = ["GunPoint", "ItalyPowerDemand", "ArrowHead", "OSULeaf", "ACSF1", "BasicMotions"]


def carded(model: ZooModule, *steps: list[Any], shape: tuple[int, ...] = (2,), raw: str = "float32") -> Any:
    """The model with a card that describes its input."""
    described = {"raw_shape": list(shape), "raw_dtype": raw, "dtype": "float32", "preprocessing": list(steps)}
    model.card = {"input": described}
    return model


@pytest.mark.parametrize("data", [Digits(), *map(UCR, BUNDLED)], ids=lambda data: getattr(data, "name", "Digits"))
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_steps_make_the_batches_of_the_raw_data(data: ArrayDataModule, split: str) -> None:
    raw, labels = data.raw(split)
    series, same = data.load(split)
    exact = not any(name == "standardise" for name, _ in data.preprocessing)
    # Series lie in their files with mean 0 and deviation 1 to seven digits, in float32.
    torch.testing.assert_close(preprocess(raw, data.preprocessing), series, rtol=0, atol=0 if exact else 1e-6)
    assert torch.equal(labels, same)


@pytest.mark.parametrize("cls", [MNIST, FashionMNIST])
def test_the_steps_make_the_batches_of_image_files_to_the_bit(
    cls: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    files = write_small(tmp_path, cls.source)
    raw = cls().raw("test")[0]
    assert (tuple(raw.shape), raw.dtype) == ((30, 1, 28, 28), torch.uint8)
    assert np.array_equal(raw[:, 0], files[2])
    assert torch.equal(preprocess(raw, cls().preprocessing), cls().load("test")[0])


def test_what_needs_no_preprocessing_has_none() -> None:
    for data in (OddTarget(test_size=10), UCR("BasicMotions")):
        assert data.preprocessing == []
    assert torch.equal(OddTarget(test_size=10).raw("test")[0], OddTarget(test_size=10).held_out("test")[0])


@pytest.mark.parametrize(("name", "ddof"), [("GunPoint", 1), ("ACSF1", 0)])
def test_series_may_be_given_in_any_unit(name: str, ddof: int) -> None:
    data = UCR(name)
    assert data.preprocessing == [["standardise", ddof]]
    series = data.load("test")[0]
    in_metres = 300 + 7 * series.double()
    torch.testing.assert_close(preprocess(in_metres, data.preprocessing), series, rtol=0, atol=1e-6)


@pytest.mark.parametrize("ddof", [0, 1])
def test_standardised_series_have_mean_zero_and_deviation_one(ddof: int) -> None:
    x = 5 + 3 * torch.randn(4, 2, 40, generator=torch.Generator().manual_seed(0))
    made = preprocess(x, [["standardise", ddof]]).double()
    # Each of the float32 values is rounded by at most 6e-8 of its size, which is below 4.
    torch.testing.assert_close(made.mean(-1), torch.zeros(4, 2, dtype=torch.float64), rtol=0, atol=2.4e-7)
    torch.testing.assert_close(made.std(-1, correction=ddof), torch.ones(4, 2, dtype=torch.float64), rtol=0, atol=3e-7)


@pytest.mark.parametrize("series", [torch.full((1, 1, 7), 0.1), torch.zeros(1, 1, 7), torch.full((1, 1, 1), 3.0)])
def test_a_constant_series_becomes_zero(series: torch.Tensor) -> None:
    assert torch.equal(preprocess(series, [["standardise", 1]]), torch.zeros_like(series))


def test_prediction_is_forward_after_the_steps() -> None:
    model = carded(Linear(2), ["divide", 255.0], ["subtract", 0.25], raw="uint8")
    raw = torch.tensor([[0, 255], [17, 3]], dtype=torch.uint8)
    expected = model((raw.float() / 255).sub_(0.25))
    for given in (raw, raw.numpy(), raw.tolist(), np.broadcast_to(raw.numpy(), (2, 2))):  # the last is read-only
        assert torch.equal(model.predict(given), expected)


def test_prediction_is_in_eval_mode_without_gradients_and_leaves_the_mode_as_it_was() -> None:
    model = Linear(2, dropout=0.9)
    model.line.eval()
    x = torch.randn(64, 2)
    assert model.training
    assert torch.equal(model.predict(x), model.predict(x))
    assert not model.predict(x).requires_grad
    assert [model.training, model.dropout.training, model.line.training] == [True, True, False]


def test_a_model_that_needs_gradients_predicts_with_them() -> None:
    inner = {"class_path": "tests.benchmarks.shapes.Linear", "init_args": {"in_features": 2}}
    model = Saliency(2, explained=inner)
    predicted = model.predict(torch.randn(3, 2))
    gradient = model.explained.get_parameter("line.weight")  # of a linear function, the same everywhere
    assert torch.equal(predicted, gradient.expand(3, 2))


def test_a_model_in_half_precision_predicts_from_the_same_input() -> None:
    model = carded(Linear(2)).to(torch.bfloat16)
    assert model.predict(np.ones((3, 2))).dtype == torch.bfloat16


def test_a_model_without_a_card_takes_what_forward_takes() -> None:
    model, x = Linear(2), torch.randn(3, 2)
    assert model.card is None
    assert torch.equal(model.predict(x), model(x))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (np.zeros(2, "float32"), r"of shape \(N, 2\), got \(2,\): N samples .* raw\[None\] is a batch of one"),
        (np.zeros((4, 1, 2), "float32"), r"of shape \(N, 2\), got \(4, 1, 2\)"),
        (np.zeros((4, 3), "float32"), r"of shape \(N, 2\), got \(4, 3\): give samples of that shape"),
    ],
)
def test_input_of_another_shape_is_refused(raw: Any, message: str) -> None:
    model = carded(Linear(2, dropout=0.5), ["divide", 2.0])
    with pytest.raises(ValueError, match=message):
        model.predict(raw)
    assert model.training


def test_scaled_values_in_place_of_whole_numbers_are_refused() -> None:
    model = carded(Linear(2), ["divide", 255.0], raw="uint8")
    with pytest.raises(ValueError, match=r"expected raw input of uint8, got torch.float32: .* neither scaled"):
        model.predict(torch.rand(3, 2))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_missing_value_is_refused_and_never_hidden(value: float) -> None:
    model = carded(Linear(2), ["standardise", 1])
    with pytest.raises(ValueError, match="expected finite raw input, got 1 values"):
        model.predict([[1.0, value]])
    assert preprocess(torch.tensor([[1.0, 2.0, value]]), [["standardise", 1]]).isnan().all()


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (None, "one tensor or array of numbers, got NoneType"),
        ([[1.0, 2.0], [3.0]], "one tensor or array of numbers, got list"),
        (np.array([["a", "b"]]), "one tensor or array of numbers, got ndarray"),
        (torch.ones(1, 2, dtype=torch.complex64), "real numbers, got torch.complex64"),
        (torch.ones(1, 2, dtype=torch.bool), "real numbers, got torch.bool"),
    ],
)
def test_what_is_no_number_is_refused(raw: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=f"expected raw input (as|of) {problem}"):
        carded(Linear(2)).predict(raw)

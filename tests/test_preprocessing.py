"""From raw input to predictions: the steps of a card, the data modules' own, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules import MNIST, UCR, ArrayDataModule, Digits, FashionMNIST, IrregularUCR, OddTarget
from tests.benchmarks.shapes import Linear, Saliency
from tests.datamodules.test_images import write_small
from zoo._module import ZooModule
from zoo._preprocessing import preprocess

BUNDLED = ["GunPoint", "ItalyPowerDemand", "ArrowHead", "OSULeaf", "ACSF1", "BasicMotions"]


def described(*steps: list[Any], shape: tuple[int, ...] = (2,), raw: str = "float32", **more: Any) -> dict[str, Any]:
    """A card's description of an input."""
    return {**more, "raw_shape": list(shape), "raw_dtype": raw, "dtype": "float32", "preprocessing": list(steps)}


def carded(model: ZooModule, *steps: list[Any], **description: Any) -> Any:
    """The model with a card that describes its input."""
    model.card = {"input": described(*steps, **description)}
    return model


class Chosen(ZooModule):
    """A product of three inputs: of points, weights and a choice."""

    def forward(self, points: Tensor, weights: Tensor, chosen: Tensor) -> Tensor:
        return torch.where(chosen, points * weights, 0.0)


def of_three_inputs() -> Chosen:
    model = Chosen()
    inputs = [described(["divide", 2.0], name="points"), described(["subtract", [1.0, 2.0]], name="weights")]
    model.card = {"input": [*inputs, described(raw="bool", name="chosen") | {"dtype": "bool"}]}
    return model


POINTS, WEIGHTS = np.array([[2.0, 4.0], [6.0, 8.0]]), np.array([[1.0, 3.0], [2.0, 2.0]])
CHOSEN = np.array([[True, True], [False, True]])


class Normal(ZooModule):
    """The density of the standard normal."""

    is_density = True

    def forward(self, x: Tensor) -> Tensor:
        return -(x.square() + math.log(2 * math.pi)).sum(-1) / 2


@pytest.mark.parametrize("data", [Digits(), *map(UCR, BUNDLED)], ids=lambda data: getattr(data, "name", "Digits"))
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_steps_make_the_batches_of_the_raw_data(data: ArrayDataModule, split: str) -> None:
    raw, labels = data.raw(split)
    series, same = data.load(split)
    exact = not any(name == "standardise" for name, _ in data.preprocessing)
    # Series lie in their files with mean 0 and deviation 1 to seven digits, in float32.
    torch.testing.assert_close(preprocess(raw, data.preprocessing), series, rtol=0, atol=0 if exact else 1e-6)
    assert torch.equal(labels, same)


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_the_steps_of_irregular_series_are_of_each_channel(missing: float) -> None:
    data = IrregularUCR("BasicMotions", missing=missing)
    (raw, mask, *rest), (values, same, *others) = data.raw("test"), data.load("test")
    assert not raw[~mask].any()
    assert torch.equal(torch.where(mask, preprocess(raw, data.preprocessing), 0.0), values)
    assert all(map(torch.equal, (mask, *rest), (same, *others)))
    whole = UCR("BasicMotions").load("test")[0].movedim(1, 2)  # in the archive's own unit
    assert torch.equal(raw, torch.where(mask, whole, 0.0))


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


def test_several_inputs_go_in_order_or_by_name_each_with_its_own_steps() -> None:
    expected = torch.tensor([[1.0 * 0, 2 * 1], [0, 4 * 0]])
    assert torch.equal(of_three_inputs().predict(POINTS, WEIGHTS, CHOSEN), expected)
    assert torch.equal(of_three_inputs().predict(POINTS, chosen=CHOSEN, weights=WEIGHTS.tolist()), expected)
    without_a_card = [torch.from_numpy(x) for x in (POINTS, WEIGHTS, CHOSEN)]
    assert torch.equal(Chosen().predict(*without_a_card), Chosen()(*without_a_card))


@pytest.mark.parametrize(
    ("raw", "named", "message"),
    [
        ((POINTS, WEIGHTS), {}, "Chosen takes points, weights and chosen: chosen is missing"),
        ((), {}, "Chosen takes points, weights and chosen: points is missing"),
        ((POINTS, WEIGHTS, CHOSEN, CHOSEN), {}, "Chosen takes points, weights and chosen, got 4 inputs"),
        ((POINTS, WEIGHTS), {"mask": CHOSEN}, "Chosen takes points, weights and chosen, got mask"),
        ((POINTS, WEIGHTS, CHOSEN), {"points": POINTS}, "Chosen takes points, weights and chosen, got points twice"),
        ((POINTS, WEIGHTS[:, :, None], CHOSEN), {}, r"expected weights of shape \(N, 2\), got \(2, 2, 1\)"),
        (
            (POINTS, np.ones((2, 3)), CHOSEN),
            {},
            r"expected weights of shape \(N, 2\), got \(2, 3\): give samples of that",
        ),
        ((POINTS, WEIGHTS[:1], CHOSEN), {}, "expected as many weights as points, N = 2, got 1"),
        ((POINTS, WEIGHTS, CHOSEN * 1.0), {}, "expected chosen of booleans, got torch.float64"),
        ((POINTS, CHOSEN, CHOSEN), {}, "expected weights of real numbers, got torch.bool"),
        ((POINTS, WEIGHTS * np.nan, CHOSEN), {}, "expected finite weights, got 4 values"),
        ((POINTS, None, CHOSEN), {}, "expected weights as one tensor or array of numbers, got NoneType"),
    ],
)
def test_the_input_that_is_wrong_is_named(raw: Any, named: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        of_three_inputs().predict(*raw, **named)


def test_a_model_of_one_input_says_so() -> None:
    with pytest.raises(ValueError, match=r"^Linear takes x, got 2 inputs$"):
        carded(Linear(2)).predict(np.zeros((1, 2)), np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"^Linear takes x: x is missing$"):
        carded(Linear(2)).predict()


@pytest.mark.parametrize("by", [-0.5, [0.25, -3.0]])
def test_a_density_of_raw_points_has_mass_one_in_their_own_unit(by: Any) -> None:
    model = carded(Normal(), ["subtract", [1.0, -2.0]], ["divide", by], ["divide", 2.0])
    width = 2 * torch.tensor(by).abs().expand(2)  # the deviations of the raw points
    place = torch.linspace(-8, 8, 161)
    grid = torch.cartesian_prod(1 + width[0] * place, -2 + width[1] * place)
    mass = model.predict(grid).double().exp().sum() * width.prod() * (place[1] - place[0]) ** 2
    # of a Gaussian the trapezoidal rule with a tenth of a deviation is exact, and what is left is float32's rounding
    assert float(mass) == pytest.approx(1, abs=1e-5)
    raw = grid[::500]
    scaled = (raw - torch.tensor([1.0, -2.0])) / width * torch.tensor(by).sign()
    torch.testing.assert_close(model.predict(raw), model(scaled) - width.log().sum(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("step", [["standardise", 1], ["at_least", 0.0], ["at_most", [1.0, 2.0]]])
def test_there_is_no_density_of_what_a_step_made_equal(step: list[Any]) -> None:
    with pytest.raises(ValueError, match=f"{step[0]} maps several inputs to one"):
        carded(Normal(), step).predict(torch.randn(3, 2))


def test_bounds_move_what_is_beyond_them_and_leave_gaps() -> None:
    x = torch.tensor([[-3.0, 5.0], [0.5, torch.nan], [9.0, 0.0]])
    found = preprocess(x, [["at_least", [0.0, 1.0]], ["at_most", 4.0]])
    expected = torch.tensor([[0.0, 4.0], [0.5, torch.nan], [4.0, 1.0]])
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


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

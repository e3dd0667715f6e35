"""Irregular series as predict takes them: gaps, shared times, and what is refused with the series named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import zoo
from datamodules import Spirals
from zoo._interpolation import INTERPOLATIONS
from zoo._irregular import completed
from zoo.differential import GRUDeltaT, LatentODE, NeuralCDE
from zoo.stochastic import LangevinSDE

N, T, C = 4, 100, 2
#: Classifiers of irregular series, with arguments that make them small.
CLASSIFIERS: dict[str, dict[str, Any]] = {
    **{key: {"hidden_channels": 4, "horizon": 12.0} for key in ("LangevinSDE", "LinearNoiseSDE", "NeuralSDE")},
    **{key: {"hidden_features": 4} for key in ("GRUDeltaT", "GRUD", "GRUForward")},
    "GeometricSDE": {"hidden_channels": 4, "horizon": 12.0, "variant": "benchmark"},
    "NeuralCDE": {"width": 8},
    "LatentODEClassifier": {"hidden_features": 8},
    "BoostedSummary": {"rounds": 2},
}


def series() -> tuple[Tensor, Tensor, Tensor]:
    values, mask, times, _ = Spirals(irregular=True, missing=0.5, test_size=N).load("test")
    return values, mask, times


def made(interpolation: str = "linear", carded: bool = True) -> NeuralCDE:
    torch.manual_seed(0)
    model = NeuralCDE(C, 2, width=8, interpolation=interpolation)
    inputs = {"values": ([T, C], "float32"), "mask": ([T, C], "bool"), "times": ([T], "float32")}
    if carded:
        model.card = {
            "input": [
                {"name": name, "raw_shape": shape, "raw_dtype": dtype, "dtype": dtype, "preprocessing": []}
                for name, (shape, dtype) in inputs.items()
            ]
        }
    return model


@pytest.mark.parametrize("carded", [False, True])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_what_is_nan_was_not_observed(interpolation: str, carded: bool) -> None:
    model, (values, mask, times) = made(interpolation, carded), series()
    with torch.no_grad():
        expected = model(values, mask, times)
    gaps = torch.where(mask, values, torch.nan)
    for given in (gaps, gaps.numpy()):
        assert torch.equal(model.predict(given, times=times), expected)
    assert torch.equal(model.predict(values, mask, times), expected)
    assert torch.equal(model.predict(times=times.numpy(), mask=mask.numpy(), values=gaps), expected)


@pytest.mark.parametrize(
    ("cls", "arguments"), [(GRUDeltaT, {"num_classes": 2}), (LatentODE, {"noise": 0.1}), (LangevinSDE, {})]
)
def test_every_model_of_irregular_series_takes_gaps(cls: Any, arguments: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model, (values, mask, times) = cls(C, **arguments).eval(), series()
    found = model.predict(torch.where(mask, values, torch.nan), times=times)
    with torch.no_grad():
        assert torch.equal(found, model(values, mask, times))
    with pytest.raises(ValueError, match=r"times that increase strictly: in series 0"):
        model.predict(values, times=times.flip(1))


@pytest.mark.parametrize("lost", [torch.nan, torch.inf, -999.0])
def test_what_a_mask_leaves_out_has_no_influence(lost: float) -> None:
    model, (values, mask, times) = made(), series()
    assert torch.equal(model.predict(torch.where(mask, values, lost), mask, times), model.predict(values, mask, times))


def test_times_may_be_those_of_all_series() -> None:
    values, mask, times, _ = Spirals(missing=0.3, test_size=N).load("test")
    assert torch.equal(made().predict(values, mask, times[0]), made().predict(values, mask, times))


def test_series_of_another_length_are_taken_and_what_they_are_filled_up_with_has_no_influence() -> None:
    model, (values, mask, times) = made(), series()
    gaps = torch.where(mask, values, torch.nan)[:, :60]
    filled = torch.cat([gaps, torch.full((N, 7, C), torch.nan)], 1)
    later = torch.cat([times[:, :60], times[:, 59:60] + torch.arange(1, 8)], 1)
    found = model.predict(filled, times=later)
    torch.testing.assert_close(found, model.predict(gaps, times=times[:, :60]), rtol=1e-5, atol=1e-6)


def test_a_preprocessed_series_has_the_same_gaps() -> None:
    model, (values, mask, times) = made(), series()
    expected = model.predict(values, mask, times)
    assert model.card is not None
    model.card["input"][0]["preprocessing"] = [["subtract", [1.0, 2.0]], ["divide", [4.0, 0.5]]]
    raw = values * torch.tensor([4.0, 0.5]) + torch.tensor([1.0, 2.0])
    found = model.predict(torch.where(mask, raw, torch.nan), times=times)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)  # a sum and a product were rounded


def test_what_is_complete_stays_as_it_is() -> None:
    given = dict(zip(("values", "mask", "times"), series(), strict=True))
    found = completed(given, torch.float32, 2)
    assert list(found) == list(given)
    assert all(torch.equal(found[name], given[name]) for name in given)


def changed(name: str, place: Any, value: Any) -> dict[str, np.ndarray]:
    """The series with one entry changed."""
    given = {key: x.numpy().copy() for key, x in zip(("values", "mask", "times"), series(), strict=True)}
    given["mask"][:, :5] = True
    given[name][place] = value
    return given


def without(given: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    return {key: x for key, x in given.items() if key != name}


def cut(name: str, *places: Any) -> dict[str, np.ndarray]:
    given = changed("values", (0, 0), 0.0)
    return given | {name: given[name][places]}


def in_seconds_since_1970() -> dict[str, np.ndarray]:
    given = changed("values", (0, 0), 0.0)
    return given | {"times": 1.7e9 + given["times"].astype("float64")}


@pytest.mark.parametrize("carded", [False, True])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (without(changed("mask", 0, True), "times"), "NeuralCDE takes values, mask and times: times is missing"),
        ({"values": series()[0]}, "NeuralCDE takes values, mask and times: times is missing"),
        (without(changed("mask", 0, True), "values"), "NeuralCDE takes values, mask and times: values is missing"),
        (cut("values", 0), r"expected values of shape \(N, T, C\), got \(100, 2\): values\[None\] is one series"),
        (
            cut("mask", slice(3)),
            r"expected mask of shape \(4, 100, 2\) to values of .* \(4, 100, 2\), got \(3, 100, 2\)",
        ),
        (cut("mask", slice(None), slice(None), 0), r"expected mask of shape .*, got \(4, 100\)"),
        (cut("times", slice(None), slice(99)), r"expected times of shape \(4, 100\) to values .*, got \(4, 99\)"),
        (cut("times", 0, slice(99)), r"expected times of shape \(4, 100\) to values .*, got \(4, 99\)"),
        (changed("mask", 0, True) | {"mask": np.ones((N, T, C))}, "expected mask of booleans, .*, got torch.float64"),
        (changed("times", (2, 5), -1.0), r"times that increase strictly: in series 2, times\[5\] = -1 follows"),
        (changed("times", (0, 99), np.inf), r"finite times: in series 0, times\[99\] is inf"),
        (changed("times", (1, 5), np.nan), r"finite times: in series 1, times\[5\] is nan"),
        (in_seconds_since_1970(), r"in series 0, times\[1\] = 1.7e\+09 follows 1.7e\+09 in torch.float32"),
        (
            changed("values", (3, 4, 1), np.nan),
            r"in series 3, values\[4, 1\] is nan; without a mask NaN is what was not",
        ),
        (without(changed("values", (3, 4, 1), np.inf), "mask"), r"in series 3, values\[4, 1\] is inf"),
    ],
)
def test_what_is_no_series_is_refused_and_named(given: dict[str, Any], message: str, carded: bool) -> None:
    with pytest.raises(ValueError, match=message):
        made(carded=carded).predict(**given)


def test_another_number_of_channels_is_refused_with_a_card() -> None:
    values, mask, times = (torch.cat([x, x[..., :1]], -1) if x.ndim == 3 else x for x in series())
    with pytest.raises(ValueError, match=r"expected values of shape \(N, T, 2\) with T >= 1, got \(4, 100, 3\)"):
        made().predict(values, mask, times)


@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
@pytest.mark.parametrize("channels", [1, 3])
def test_another_number_of_channels_is_refused_without_a_card(name: str, channels: int) -> None:
    model, (values, _, times) = zoo.create(name, in_channels=C, num_classes=2, **CLASSIFIERS[name]), series()
    values = values[..., :1].expand(-1, -1, channels)
    with pytest.raises(
        ValueError, match=rf"expected values of shape \(N, T, 2\) with T >= 1, got \(4, 100, {channels}\)"
    ):
        model.predict(values, times=times)


@pytest.mark.parametrize("substeps", [1, 2])
def test_the_last_observation_moves_a_classification_by_two_substeps_only(substeps: int) -> None:
    torch.manual_seed(0)
    model, (values, _, times) = LangevinSDE(C, 2, substeps=substeps).eval(), series()
    other = values.clone()
    other[:, -1] += 10.0
    assert torch.equal(model.predict(values, times=times), model.predict(other, times=times)) == (substeps == 1)


@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
def test_a_record_without_observations_and_a_channel_without_them_have_a_prediction(name: str) -> None:
    torch.manual_seed(0)
    model = zoo.create(name, in_channels=C, num_classes=2, **CLASSIFIERS[name])
    values, mask, times = series()
    mask[0] = False
    mask[:, :, 1] = False
    predicted = model.predict(torch.where(mask, values, torch.nan), times=times)
    assert bool(predicted.isfinite().all())
    # what stood where nothing was observed is not read
    assert torch.equal(model.predict(values + 7.0 * ~mask, mask, times), predicted)

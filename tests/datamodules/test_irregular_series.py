"""The archives' series as irregular ones: lengths, gaps, moments and the validation split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from aeon.datasets import load_classification

from datamodules import UCR, IrregularSeries, IrregularUCR


def test_series_of_any_length_are_those_of_the_archive() -> None:
    data = IrregularUCR("JapaneseVowels", val_share=0.0)
    values, mask, times, labels = data.load("test")
    theirs, names = load_classification("JapaneseVowels", split="test")
    assert data.spec.sizes == {"train": 270, "val": 0, "test": 370}
    assert mask.sum(1)[:, 0].tolist() == [series.shape[1] for series in theirs]
    assert [data.class_names[k] for k in labels] == list(names)
    train, seen, *_ = data.load("train")
    original, _ = load_classification("JapaneseVowels", split="train")
    flat = np.concatenate(original, 1)
    mean, deviation = flat.mean(1), flat.std(1)
    for n in (0, 7, 269):
        length = theirs[n].shape[1]
        expected = torch.from_numpy(((theirs[n].T - mean) / deviation).astype(np.float32))
        torch.testing.assert_close(values[n, :length], expected, rtol=1e-4, atol=1e-5)  # moments in float32
        assert not values[n, length:].any()
    kept = torch.where(seen, train, 0.0).double()
    count = seen.sum((0, 1))
    torch.testing.assert_close(kept.sum((0, 1)) / count, torch.zeros(12).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(kept.square().sum((0, 1)) / count, torch.ones(12).double(), rtol=1e-5, atol=0)
    assert times[0].tolist() == list(range(29))


def test_the_validation_split_takes_as_much_of_every_class_and_nothing_else() -> None:
    data = IrregularUCR("JapaneseVowels", val_share=0.2)
    train, held_out = data.load("train"), data.load("val")
    assert torch.bincount(held_out[3]).tolist() == [6] * 9
    assert torch.bincount(train[3]).tolist() == [24] * 9
    whole = IrregularUCR("JapaneseVowels", val_share=0.0).load("train")
    lengths = torch.cat([part[1][:, :, 0].sum(1) for part in (train, held_out)])
    assert lengths.sort().values.tolist() == whole[1][:, :, 0].sum(1).sort().values.tolist()
    other = IrregularUCR("JapaneseVowels", val_share=0.2, seed=1).load("val")
    assert not torch.equal(other[0], held_out[0])


@pytest.mark.parametrize("name", ["BasicMotions", "JapaneseVowels"])
@pytest.mark.parametrize("rate", [0.3, 0.5, 0.7])
def test_every_channel_of_every_series_loses_the_share_asked_for(rate: float, name: str) -> None:
    mask = IrregularUCR(name, missing=rate).load("test")[1]
    before = IrregularUCR(name).load("test")[1]
    count = before.sum(1)
    assert torch.equal(mask.sum(1), count - (rate * count).round().long())
    assert mask[:, 0].all()
    assert not (mask & ~before).any()
    again, other = (IrregularUCR(name, missing=rate, seed=s).load("test")[1] for s in (0, 1))
    assert torch.equal(again, mask)
    assert not torch.equal(other, mask)


def test_whole_times_are_lost_of_those_at_which_anything_was_observed() -> None:
    mask = torch.ones(2, 10, 3, dtype=torch.bool)
    mask[1, 6:] = False
    mask[0, :, 2] = False
    series = IrregularSeries(torch.ones(2, 10, 3), mask, torch.arange(10.0).repeat(2, 1))
    left = series.thinned(0.5, torch.Generator().manual_seed(0), whole=True).mask
    assert left.any(-1).sum(1).tolist() == [5, 3]
    assert torch.equal(left, mask & left.any(-1, keepdim=True))  # all channels of a time, or none


def test_the_version_is_that_of_the_files() -> None:
    assert IrregularUCR("BasicMotions").spec.version == UCR("BasicMotions").spec.version


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"missing": 1.0}, r"missing must lie in \[0, 1\), got 1.0"),
        ({"val_share": -0.1}, r"val_share must lie in \[0, 1\), got -0.1"),
        ({"val_share": 0.97}, "val_share 0.97 leaves no series of class 0 to train on: take less"),
        ({"name": "BasicMotion"}, "did you mean BasicMotions"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ],
)
def test_bad_values_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IrregularUCR(**arguments).load("train")

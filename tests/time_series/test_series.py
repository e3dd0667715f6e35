"""The UCR sets that come with aeon, read without a download."""

from __future__ import annotations

import pytest
import torch

from datamodules import UCR

SIZES = {"GunPoint": (50, 150, 150, 2), "ItalyPowerDemand": (67, 1029, 24, 2), "ArrowHead": (36, 175, 251, 3)}


@pytest.mark.parametrize("name", list(SIZES))
def test_sizes_are_the_archives(name: str) -> None:
    train, test, length, classes = SIZES[name]
    spec = UCR(name).spec
    assert spec.sizes == {"train": train, "test": test}
    assert spec.batch[0].shape == (1, length)
    assert spec.arguments == {"in_channels": 1, "length": length, "num_classes": classes}


@pytest.mark.parametrize("name", list(SIZES))
@pytest.mark.parametrize("split", ["train", "test"])
def test_series_come_standardised_one_by_one(name: str, split: str) -> None:
    series = UCR(name).load(split)[0].double()
    torch.testing.assert_close(series.mean(-1), torch.zeros(len(series), 1, dtype=torch.float64), atol=1e-3, rtol=0)
    torch.testing.assert_close(series.std(-1), torch.ones(len(series), 1, dtype=torch.float64), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("name", "percent"), [("GunPoint", 49.33), ("ItalyPowerDemand", 49.85), ("OSULeaf", 18.18)])
def test_the_majority_class_of_the_training_split_scores_as_published(name: str, percent: float) -> None:
    """The accuracies that the review lists for its network that predicts one class."""
    data = UCR(name)
    majority = data.load("train")[1].bincount().argmax()
    accuracy = (data.load("test")[1] == majority).double().mean()
    assert round(100 * float(accuracy), 2) == percent


def test_labels_count_the_headers_classes() -> None:
    data = UCR("ArrowHead")
    assert data.class_names == ("0", "1", "2")
    assert sorted(data.load("test")[1].unique().tolist()) == [0, 1, 2]


def test_a_multivariate_set_has_its_channels() -> None:
    data = UCR("BasicMotions")
    assert data.spec.arguments == {"in_channels": 6, "length": 100, "num_classes": 4}
    assert tuple(data.load("train")[0].shape) == (40, 6, 100)


def test_the_specification_needs_no_aeon() -> None:
    import subprocess
    import sys

    script = "import sys; from datamodules import UCR; print(UCR('GunPoint').spec.sizes, 'aeon' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'train': 50, 'test': 150} False"


def test_an_unknown_name_is_refused_with_the_closest() -> None:
    with pytest.raises(ValueError, match=r"GunPoin.*GunPoint"):
        UCR("GunPoin")


def test_series_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="length"):
        _ = UCR("JapaneseVowels").spec

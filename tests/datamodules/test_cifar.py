"""CIFAR-10 on a small folder in torchvision's format, written here."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision

from datamodules import CIFAR10, DataMissing
from datamodules._arrays import generator


class Small(CIFAR10):
    """300 + 40 images, of which the last 100 training images are held back."""

    held_back = 100


def write(file: Path, content: dict[str, Any]) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(pickle.dumps(content))
    return hashlib.md5(file.read_bytes()).hexdigest()  # as torchvision checks it


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray[Any, Any]]:
    """A data folder of 5 x 60 training and 40 test images; returns its arrays, (N, 3, 32, 32) and labels."""
    rng, base = np.random.default_rng(0), torchvision.datasets.CIFAR10
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    sums = []
    for name, size in [*((f"data_batch_{n}", 60) for n in range(1, 6)), ("test_batch", 40)]:
        images, labels = rng.integers(0, 256, (size, 3072), np.uint8), rng.integers(0, 10, size).tolist()
        sums.append([name, write(tmp_path / base.base_folder / name, {"data": images, "labels": labels})])
        arrays[name] = images.reshape(-1, 3, 32, 32)
        arrays[f"{name}/labels"] = np.array(labels)
    meta = write(tmp_path / base.base_folder / "batches.meta", {"label_names": list(CIFAR10.class_names)})
    monkeypatch.setattr(base, "train_list", sums[:5])
    monkeypatch.setattr(base, "test_list", sums[5:])
    monkeypatch.setattr(base, "meta", base.meta | {"md5": meta})
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    return arrays


def whole(arrays: dict[str, np.ndarray[Any, Any]], suffix: str = "") -> np.ndarray[Any, Any]:
    return np.concatenate([arrays[f"data_batch_{n}{suffix}"] for n in range(1, 6)])


def test_splits_follow_the_file_order_and_are_standardised_by_channel(files: Any) -> None:
    images, labels = whole(files), whole(files, "/labels")
    parts = {"train": (images[:200], labels[:200]), "val": (images[200:], labels[200:])}
    mean, std = (np.array(moment)[:, None, None] for moment in (CIFAR10.mean, CIFAR10.std))
    for split, (x, y) in {**parts, "test": (files["test_batch"], files["test_batch/labels"])}.items():
        found, classes = Small().load(split)
        assert classes.tolist() == y.tolist()
        # one rounding of each of three float32 operations on values below 2.2
        np.testing.assert_allclose(found, (x / 255 - mean) / std, atol=1e-6)


def test_a_training_batch_is_made_of_crops_of_enlarged_images_mirrored_or_not(files: Any) -> None:
    """Each is found among all 9 x 9 places and both directions, in three channels alike."""
    data = Small(batch_size=16, seed=5, border="reflect")
    images, labels = data.load("train")
    order = data.order(3)[:16]
    x, y = data.loader("train").batch(3, 0)
    assert torch.equal(y, labels[order])
    enlarged = torch.nn.functional.pad(images[order], (4,) * 4, mode="reflect")
    for image, large in zip(x, enlarged, strict=True):
        crops = [large[:, i : i + 32, j : j + 32] for i in range(9) for j in range(9)]
        assert sum(torch.equal(image, made) for crop in crops for made in (crop, crop.flip(2))) == 1


def test_the_border_may_be_the_mean_colour(files: Any) -> None:
    data = Small(batch_size=16, border="constant")
    x = data.transform((torch.ones(200, 3, 32, 32), torch.zeros(200)), generator(0, "train", 0))[0]
    lost = (x == 0).flatten(2).sum(2)[:, 0]
    rows_and_columns = {32 * 32 - (32 - a) * (32 - b) for a in range(5) for b in range(5)}
    assert set(lost.tolist()) <= rows_and_columns
    assert lost.max() > 32 * 4


def test_moves_and_mirrors_are_all_equally_likely(files: Any) -> None:
    """Of 8,100 crops of a ramp each of 81 places takes 100, of deviation 10, and half are mirrored, of deviation 45;
    five deviations are outlived with a probability below 1e-4.
    """
    ramp = torch.arange(32.0).expand(32, 32) + 100 * torch.arange(32.0)[:, None]
    images = ramp.expand(8100, 1, 32, 32)
    (x, _) = Small().transform((images, torch.zeros(8100)), generator(0, "train", 0))
    middle = x[:, 0, 16, 15:17]
    mirrored = middle[:, 1] < middle[:, 0]
    assert abs(int(mirrored.sum()) - 4050) < 5 * 45
    down = torch.div(middle[:, 0], 100, rounding_mode="floor") - 16
    right = middle.min(1).values % 100 - 15
    counts = torch.bincount(((down + 4) * 9 + right + 4).long(), minlength=81)
    assert len(counts) == 81
    assert (counts - 100).abs().max() < 5 * 10


def test_a_batch_depends_on_seed_epoch_and_position_alone(files: Any) -> None:
    one, other = Small(seed=1).loader("train"), Small(seed=1).loader("train")
    other.batch(0, 0)
    assert torch.equal(one.batch(2, 1)[0], other.batch(2, 1)[0])
    assert not torch.equal(one.batch(2, 1)[0], Small(seed=2).loader("train").batch(2, 1)[0])


def test_the_spec_needs_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path / "nowhere"))
    assert CIFAR10().spec.sizes == {"train": 45_000, "val": 5_000, "test": 10_000}
    assert CIFAR10().spec.arguments == {"in_channels": 3, "in_features": 3072, "num_classes": 10}


def test_missing_files_name_the_folder_and_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ZOO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", refuse)
    with pytest.raises(DataMissing, match="cifar-10-batches-py/data_batch_1") as error:
        CIFAR10().prepare_data()
    for part in (f"in {tmp_path}", "no route to host", f"CIFAR10({str(tmp_path)!r}, download=True)"):
        assert part in str(error.value)


def test_an_unknown_border_is_refused() -> None:
    with pytest.raises(ValueError, match="border must be one of 'reflect', 'constant', got 'wrap'"):
        CIFAR10(border="wrap")

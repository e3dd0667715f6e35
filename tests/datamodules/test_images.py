from collections import Counter
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from sklearn.datasets import load_digits

import datamodules
from datamodules import MNIST, DataMissing, Digits, FashionMNIST
from datamodules._files import data_dir, root_of

IDX = [MNIST, FashionMNIST]


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """Empty data and cache folders."""
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ZOO_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "data"


@pytest.fixture(params=IDX)
def real(request):
    """A data module whose files are on this machine."""
    if not root_of([f"{request.param.source}/raw/train-images-idx3-ubyte"]):
        pytest.skip(f"no {request.param.source} in {data_dir()}")
    return request.param()


def write_idx(folder, part, images, labels):
    folder.mkdir(parents=True, exist_ok=True)
    for kind, code, array in (("images-idx3", 3, images), ("labels-idx1", 1, labels)):
        head = np.array([0x800 + code, *array.shape], ">i4").tobytes()
        (folder / f"{part}-{kind}-ubyte").write_bytes(head + array.tobytes())


def write_small(root, name):
    """A data set of 6,000 + 30 random images in the real one's format; returns its four arrays."""
    rng = np.random.default_rng(0)
    arrays = []
    for part, n in (("train", 6_000), ("t10k", 30)):
        images, labels = rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n, np.uint8)
        write_idx(root / name / "raw", part, images, labels)
        arrays += [images, labels]
    return arrays


def check_spec(data):
    """Recomputes what the spec says from the tensors themselves."""
    image, label = data.spec.batch
    for split, size in data.spec.sizes.items():
        images, labels = data.load(split)
        assert len(images) == len(labels) == size
        assert (images.shape[1:], images.dtype) == (image.shape, image.dtype)
        assert (labels.shape[1:], labels.dtype) == (label.shape, label.dtype)
        assert labels.unique().tolist() == list(range(label.classes))
    assert data.spec.arguments == {
        "in_channels": images.shape[1],
        "in_features": images[0].numel(),
        "num_classes": label.classes,
    }
    assert len(data.class_names) == label.classes


def test_digits_spec_agrees_with_the_tensors():
    check_spec(Digits())


def test_digits_splits_are_a_partition_of_the_whole_set():
    whole = load_digits()
    expected = Counter(zip((im.tobytes() for im in whole.images / 16), whole.target.tolist(), strict=True))
    found: Counter[tuple[bytes, int]] = Counter()
    for split in ("train", "val", "test"):
        images, labels = Digits().load(split)
        found.update(zip((im.tobytes() for im in images.double().numpy()), labels.tolist(), strict=True))
    assert found == expected  # sixteenths are exact in either precision


@pytest.mark.parametrize(("split", "share"), [("train", 0.6), ("val", 0.2), ("test", 0.2)])
def test_digits_splits_are_stratified(split, share):
    whole = np.bincount(load_digits().target)
    part = torch.bincount(Digits().load(split)[1]).numpy()
    assert np.abs(part - share * whole).max() < 1.5  # of every five of a class, three and one and one


def test_digits_split_by_the_stated_rule():
    whole = load_digits()
    images, labels = Digits().load("val")
    for c in range(10):
        third = np.flatnonzero(whole.target == c)[3]
        np.testing.assert_array_equal(images[labels == c][0, 0], whole.images[third] / 16)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_splits_do_not_depend_on_the_seed(split):
    for one, other in zip(Digits(seed=0).load(split), Digits(seed=1).load(split), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("cls", IDX)
def test_idx_splits_follow_the_file_order(cls, nowhere):
    train_images, train_labels, test_images, test_labels = write_small(nowhere, cls.source)
    expected = {
        "train": (train_images[:1_000], train_labels[:1_000]),
        "val": (train_images[1_000:], train_labels[1_000:]),
        "test": (test_images, test_labels),
    }
    for split, (images, labels) in expected.items():
        x, y = cls().load(split)
        assert y.tolist() == labels.tolist()
        # One rounding of each of the three float32 operations on values below 3.
        np.testing.assert_allclose(x[:, 0], (images / 255 - cls.mean) / cls.std, atol=1e-6)


def test_idx_spec_agrees_with_the_files(real):
    check_spec(real)


def test_idx_training_split_is_standardised(real):
    images = real.load("train")[0].double()
    # The moments are rounded to four digits: to 5e-5 of at least 0.3 each.
    assert images.mean().item() == pytest.approx(0, abs=2e-4)
    assert images.std(correction=0).item() == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize("cls", IDX)
def test_missing_files_name_the_folder_and_the_command(cls, nowhere, monkeypatch):
    def refuse(self):
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", refuse)
    with pytest.raises(DataMissing, match="train-images-idx3-ubyte") as error:
        cls().prepare_data()
    message = str(error.value)
    assert f"in {nowhere}" in message
    assert "no route to host" in message
    assert f"torchvision.datasets.{cls.__name__}('{nowhere}', download=True)" in message


@pytest.mark.parametrize("cls", IDX)
def test_missing_files_are_downloaded_by_the_library(cls, nowhere, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.MNIST, "download", lambda self: write_small(nowhere, cls.source))
    cls().prepare_data()
    assert len(cls().load("test")[0]) == 30


def test_spec_needs_no_files(nowhere):
    assert FashionMNIST().spec.sizes == {"train": 55_000, "val": 5_000, "test": 10_000}


@pytest.mark.parametrize("name", ["Digits", "MNIST", "FashionMNIST"])
def test_batch_size_is_checked(name):
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        getattr(datamodules, name)(batch_size=0)

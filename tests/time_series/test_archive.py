"""Where the archive's files come from and what is refused; metadata against the series themselves."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules import UCR, DataMissing

SPEC = importlib.util.find_spec("aeon")
assert SPEC is not None
assert SPEC.submodule_search_locations is not None
BUNDLED = Path(SPEC.submodule_search_locations[0]) / "datasets" / "data"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder."""
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ZOO_CACHE_DIR", str(tmp_path))
    return tmp_path


def put(target: Path, change: tuple[str, str] = ("", "")) -> None:
    """The files of ItalyPowerDemand under the name of another set, with one text for another."""
    target.mkdir(parents=True)
    for split in ("TRAIN", "TEST"):
        text = (BUNDLED / "ItalyPowerDemand" / f"ItalyPowerDemand_{split}.ts").read_text(encoding="utf-8")
        (target / f"{target.name}_{split}.ts").write_text(text.replace(*change), encoding="utf-8")


@pytest.mark.parametrize("name", ["GunPoint", "ArrowHead", "BasicMotions", "JapaneseVowels_eq"])
def test_the_specification_is_that_of_the_series(name: str) -> None:
    data = UCR(name)
    classes = 0
    for split in ("train", "test"):
        series, labels = data.load(split)
        fields = data.spec.batch
        assert (series.dtype, labels.dtype) == (fields[0].dtype, fields[1].dtype)
        assert tuple(series.shape) == (data.spec.sizes[split], *fields[0].shape)
        assert torch.isfinite(series).all()
        classes = max(classes, 1 + int(labels.max()))
    assert classes == data.spec.batch[1].classes == len(data.class_names)


@pytest.mark.parametrize("name", ["BasicMotions", "PickupGestureWiimoteZ_eq"])
def test_labels_name_the_class_at_the_end_of_each_line(name: str) -> None:
    """BasicMotions has words for classes, PickupGestureWiimoteZ_eq lists class 10 second."""
    data = UCR(name)
    path = BUNDLED / name.removesuffix("_eq") / f"{name}_TEST.ts"
    lines = path.read_text(encoding="utf-8").partition("@data")[2].split()
    labels = data.load("test")[1].tolist()
    assert [data.class_names[label] for label in labels] == [line.rpartition(":")[2] for line in lines]


def test_a_set_in_the_data_folder_is_read_and_its_content_is_its_version(folder: Path) -> None:
    put(folder / "UCR" / "ECG200")
    put(folder / "UCR" / "Trace", change=("-0.99300935", "-0.99300936"))
    ours, same, other = UCR("ECG200"), UCR("ItalyPowerDemand"), UCR("Trace")
    assert torch.equal(ours.load("test")[0], same.load("test")[0])
    assert ours.spec == same.spec
    assert other.spec.version != same.spec.version


def test_a_download_is_kept_in_the_data_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(name: str, extract_path: str, **_: Any) -> None:
        put(Path(extract_path) / name)

    monkeypatch.setattr("aeon.datasets.load_classification", download)
    assert UCR("ECG200").spec.sizes == {"train": 67, "test": 1029}
    assert [path.name for path in folder.iterdir()] == ["UCR"]


def test_an_interrupted_download_leaves_nothing_and_says_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(name: str, extract_path: str, **_: Any) -> None:
        put(Path(extract_path) / name)
        raise OSError("connection lost")

    monkeypatch.setattr("aeon.datasets.load_classification", download)
    with pytest.raises(DataMissing, match=r"ECG200_TRAIN.ts.*connection lost.*no download: ACSF1.*GunPoint"):
        UCR("ECG200").prepare_data()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("@missing false", "@missing true"), "ECG200 has missing values; ECG200_nmv"),
        (("-0.99300935,", ""), "series of ECG200 differ in length; ECG200_eq"),
        (("@classLabel true 1 2", "@targetlabel true"), "ECG200 is no classification set"),
    ],
)
def test_sets_that_no_classifier_here_takes_are_refused(folder: Path, change: tuple[str, str], message: str) -> None:
    put(folder / "UCR" / "ECG200", change)
    with pytest.raises(ValueError, match=message):
        _ = UCR("ECG200").spec

"""Time series with a class each: the UCR and UEA archives, read with aeon."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules._arrays import ArrayDataModule
from datamodules._files import provide, root_of
from datamodules._spec import Field, Spec

ARCHIVE = "UCR"  # the folder of downloaded sets, below the data folder
UCR_CITATION = """\
@article{dau2019ucr,
  author = {Dau, Hoang Anh and Bagnall, Anthony and Kamgar, Kaveh and Yeh, Chin-Chia Michael and Zhu, Yan and
            Gharghabi, Shaghayegh and Ratanamahatana, Chotirat Ann and Keogh, Eamonn},
  title = {{The UCR time series archive}},
  journal = {IEEE/CAA Journal of Automatica Sinica},
  volume = {6},
  number = {6},
  pages = {1293--1305},
  year = {2019},
  doi = {10.1109/JAS.2019.1911747}
}"""
UEA_CITATION = """\
@misc{bagnall2018uea,
  author = {Bagnall, Anthony and Dau, Hoang Anh and Lines, Jason and Flynn, Michael and Large, James and
            Bostrom, Aaron and Southam, Paul and Keogh, Eamonn},
  title = {{The UEA multivariate time series classification archive, 2018}},
  year = {2018},
  eprint = {1811.00075},
  archiveprefix = {arXiv},
  url = {https://arxiv.org/abs/1811.00075}
}"""


@dataclass(frozen=True)
class _Description:
    """What a .ts file says of itself, without parsing its numbers."""

    class_names: tuple[str, ...]
    channels: int
    length: int
    size: int


class Archived(ArrayDataModule):
    """A labelled set of the UCR or UEA archive by its name: where its files lie, and what they say of its classes."""

    libraries = ("aeon.datasets",)

    def __init__(self, name: str, batch_size: int, seed: int, drop_last: bool = False) -> None:
        super().__init__(batch_size, seed, drop_last)
        self.name: str = name
        self._folder_name = name.removesuffix("_nmv").removesuffix("_eq")
        self._files = [f"{self._folder_name}/{name}_{split}.ts" for split in ("TRAIN", "TEST")]
        if not self._bundled and not root_of(self._archived):
            _require_known(self._folder_name)

    @property
    def _bundled(self) -> bool:
        return all((_bundled_folder() / file).is_file() for file in self._files)

    @property
    def _archived(self) -> list[str]:
        return [f"{ARCHIVE}/{file}" for file in self._files]

    @property
    def citation(self) -> str:  # type: ignore[override]  # which archive it is depends on the set
        """The archive that the set belongs to: UEA's for multivariate sets, else UCR's."""
        from aeon.datasets.tsc_datasets import UEA

        return UEA_CITATION if self._folder_name in UEA else UCR_CITATION

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes' names, in the order of their labels."""
        return _classes(self._file("train"))

    @property
    def version(self) -> str:
        """A hash of the set's files."""
        return f"{_digest(self._file('train'))}-{_digest(self._file('test'))}"

    def prepare_data(self) -> None:
        self._root()

    def _file(self, split: str) -> Path:
        return self._root() / self._files[("train", "test").index(split)]

    def _read(self, split: str) -> tuple[Any, Tensor]:
        """The series of one of the archive's splits, a list where they differ in length, and their labels."""
        from aeon.datasets import load_classification

        series, names = load_classification(self.name, split=split, extract_path=str(self._root()))
        label = {name.lower(): index for index, name in enumerate(self.class_names)}  # aeon reads in lower case
        return series, torch.tensor([label[name] for name in names])

    def _root(self) -> Path:
        """The folder in which the set's own folder lies, after a download if need be."""
        if self._bundled:
            return _bundled_folder()
        remedy = (
            "put the two files there (https://zenodo.org/communities/tsml has them), or choose a set that needs "
            f"no download: {', '.join(_bundled_sets())}"
        )
        return provide(f"series set {self.name}", self._archived, self._download, remedy) / ARCHIVE

    def _download(self, root: Path) -> None:
        from aeon.datasets import load_classification

        with tempfile.TemporaryDirectory(dir=root) as partial:  # an interrupted download leaves nothing behind
            load_classification(self.name, extract_path=partial)
            target = root / ARCHIVE / self._folder_name
            target.mkdir(parents=True, exist_ok=True)
            for file in (Path(partial) / self._folder_name).iterdir():
                file.replace(target / file.name)


class UCR(Archived):
    """A labelled set of series of the UCR or UEA archive, in the archive's own split.

    A batch is (series, labels): (B, channels, length) in float32 and (B,) in int64. Labels count the classes in
    the order of the file's header, which is that of `class_names`.

    Nothing is normalised here. Most of the archive's univariate sets come z-normalised, each series with mean 0 and
    standard deviation 1 (of ddof = 1; ACSF1 of ddof = 0); the others and most multivariate ones come raw.

    There is a training and a test split and no validation split: the protocol of Ismail Fawaz et al., "Deep
    learning for time series classification: a review", 2019, has none. Some sets were split anew for the archive
    of 2018, so that results published before may belong to another split.

    Sets that aeon bundles (GunPoint, ItalyPowerDemand, ArrowHead, OSULeaf, ACSF1, BasicMotions, …) need no
    download. Any other set of the archive goes by its name, is looked for as UCR/NAME/NAME_TRAIN.ts and
    NAME_TEST.ts in the data folder, and is else downloaded by aeon; aeon knows no checksums, but `spec.version`
    is a hash of the files. NAME_eq and NAME_nmv are the archive's versions of equal length and without gaps.

    Raises ValueError for an unknown name, a regression set, series of unequal length and missing values;
    DataMissing where the download fails.
    """

    seeded = False

    def __init__(self, name: str = "GunPoint", batch_size: int = 16, seed: int = 0, drop_last: bool = False) -> None:
        super().__init__(name, batch_size, seed, drop_last)
        self.save_hyperparameters()

    @property
    def spec(self) -> Spec:
        train, test = self._describe("train"), self._describe("test")
        if (train.channels, train.length) != (test.channels, test.length):
            raise ValueError(_unequal(self.name))
        classes = len(train.class_names)
        return Spec(
            (Field((train.channels, train.length)), Field((), torch.int64, classes)),
            {"in_channels": train.channels, "length": train.length, "num_classes": classes},
            {"train": train.size, "test": test.size},
            self.version,
        )

    @property
    def preprocessing(self) -> list[list[Any]]:
        """Standardisation, where every training series has mean 0 and deviation 1 to five digits; else nothing.

        The series of such a set were standardised before they came into the archive: with this step a series in its
        own unit becomes what they are, and they stay as they are to the rounding of the file.
        """
        series = self.load("train")[0].double()
        if series.mean(-1).abs().max() < 1e-5:
            for ddof in (1, 0):  # 1 / 2T apart: more than 1e-5 for every length of the archives
                if (series.std(-1, correction=ddof) - 1).abs().max() < 1e-5:
                    return [["standardise", ddof]]
        return []

    def load(self, split: str) -> tuple[Tensor, ...]:
        series, labels = self._read(split)
        return torch.from_numpy(series).float(), labels

    def _describe(self, split: str) -> _Description:
        return _described(self._file(split))


@cache
def _bundled_folder() -> Path:
    """Where aeon's own sets lie; aeon is located and not imported, which would take a second."""
    found = importlib.util.find_spec("aeon")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("the UCR series are read with aeon: pip install aeon")
    return Path(found.submodule_search_locations[0]) / "datasets" / "data"


@cache
def _classes(path: Path) -> tuple[str, ...]:
    """The classes of a .ts file, in the order of its header."""
    with path.open("rb") as file:
        tags = _header(file)
    if not _says(tags, "classlabel", "true"):
        raise ValueError(f"{_set(path)} is no classification set: its series have a number to predict, not a class")
    return tuple(tags["classlabel"][1:])


def _set(path: Path) -> str:
    return path.stem.rpartition("_")[0]


@cache
def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _header(lines: Iterable[bytes]) -> dict[str, list[str]]:
    """The tags of a .ts file up to @data, in lower case, and their words."""
    tags: dict[str, list[str]] = {}
    for line in lines:
        tag, *words = line.decode(errors="replace").split() or [""]
        if tag.lower() == "@data":
            break
        if tag.startswith("@"):
            tags[tag[1:].lower()] = words
    return tags


def _says(tags: dict[str, list[str]], tag: str, answer: str) -> bool:
    return tags.get(tag, [""])[0].lower() == answer


@cache
def _described(path: Path) -> _Description:
    name, classes = _set(path), _classes(path)
    with path.open("rb") as file:
        tags = _header(file)
        marks = [(line.count(b":"), line.count(b",")) for line in file if line.strip()]
    if _says(tags, "equallength", "false") or len(set(marks)) != 1:
        raise ValueError(_unequal(name))
    if _says(tags, "missing", "true"):
        raise ValueError(f"{name} has missing values; {name}_nmv, where the archive has it, has them filled in")
    channels, commas = marks[0]  # a line is v,…,v:…:v,…,v:class
    return _Description(classes, channels, commas // channels + 1, len(marks))


def _unequal(name: str) -> str:
    return f"the series of {name} differ in length; {name}_eq, where the archive has it, has them of equal length"


def _bundled_sets() -> list[str]:
    """Names of the sets that need no download and that UCR takes."""
    found = []
    for train in _bundled_folder().glob("*/*_TRAIN.ts"):
        with train.open("rb") as file:
            tags = _header(file)
        name = train.stem.removesuffix("_TRAIN")
        usable = _says(tags, "classlabel", "true") and not _says(tags, "equallength", "false")
        if usable and train.with_name(f"{name}_TEST.ts").is_file():
            found.append(name)
    return sorted(found)


def _require_known(name: str) -> None:
    """Raises ValueError with close matches unless the archive has a set of that name."""
    from aeon.datasets.tsc_datasets import tsc_zenodo

    bundled = _bundled_sets()
    if name not in tsc_zenodo:
        close = difflib.get_close_matches(name, sorted({*bundled, *tsc_zenodo}), n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ";"
        raise ValueError(
            f"unknown series set name={name!r}{hint} without a download there are {', '.join(bundled)}; "
            "aeon.datasets.tsc_datasets lists what can be downloaded"
        )

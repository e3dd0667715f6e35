"""Intensive-care records of the PhysioNet challenge of 2012: irregular series, and who died in hospital."""

from __future__ import annotations

import hashlib
import urllib.request
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from datamodules._arrays import ArrayDataModule, generator
from datamodules._files import cache_dir, data_dir, provide
from datamodules._intensive_care import (
    CHANNELS,
    STAY,
    UNCHANGED,
    among,
    clock,
    count,
    dense,
    parsed,
    rounded,
    standards,
)
from datamodules._kept import Tensors, kept
from datamodules._spec import Field, Spec
from datamodules._times import Times
from datamodules.irregular_series import stratified

#: Of the files: the most times of any record, and how many records there are of each class.
LONGEST, CLASSES = 202, (6878, 1122)

SHA256 = {
    "set-a.zip": "a3e3b6992263cedf312f97b85fa4aab37b4f1951214238ef0d2a71f9f7963445",
    "set-b.zip": "20707bfc22620a9ecdf22cf820a3336790f1fa2392bd1830fc1e043a7bec8de4",
    "Outcomes-a.txt": "2613ea60ccda29f87571a7d6b09ad130858a8ccd66325bd073365925026883c2",
    "Outcomes-b.txt": "1305f29734da374a809483229a99f33a9230aa8d4fa74b1a2d6ad788136423d5",
}
SOURCE = "https://physionet.org/files/challenge-2012/1.0.0"


class PhysioNet2012(ArrayDataModule):
    """The first 48 hours of 8,000 stays in intensive care, and whether the patient died in hospital (about 1 in 7).

    A batch is (values, mask, times, labels): (B, T, 44), (B, T, 44), (B, T) and (B,), T the most times of any record.
    Times are hours since admission; `datamodules._intensive_care` has the CHANNELS and, in SERIES and ADMISSION, their
    units. Of several values of a channel at one time the last counts; a negative value, the files' sign for none, was
    not observed; what was known on admission was observed at time 0. A record without any measurement has that, and
    stays.

    Times are exact to the minute, unless `every` is given, in hours: then they are rounded down to multiples of it, at
    all of which each record has a row, 49 for 1 hour, and the last value of a channel between two of them counts.

    Sets a and b are put together, and a share `val_share` and `test_share` of each class, drawn by the seed, is held
    back. Values beyond the 0.1 % and 99.9 % quantiles of what the training split observed, typing errors among them,
    are moved to these, and channels standardised by its mean and deviation; one that it never observed, or only with
    one value, is left as it is, less that value.

    With `intensity` 44 channels more follow: at how many times each was observed so far, over 1 + what that is at the
    end of a stay in the mean of the training split. What is measured, and how often, says what physicians think.

    Files are read from `PhysioNet2012/` of the data folder or downloaded, parsed once (seconds), and kept in the cache
    folder with a checksum. Raises ValueError for shares that do not leave all splits some of each class, and for an
    `every` that is no number of whole minutes from 0 (exact times) to two days; and DataMissing, with the remedy, where
    there are no files and none can be had.

    Source: I. Silva, G. Moody, D. J. Scott, L. A. Celi and R. G. Mark, "Predicting in-hospital mortality of ICU
    patients: the PhysioNet/Computing in Cardiology challenge 2012", Computing in Cardiology 39, 2012. The challenge
    scores set b or c after training on set a; these splits are ours.
    """

    downloads = True
    class_names: ClassVar[tuple[str, ...]] = ("survived", "died in hospital")
    citation: ClassVar[str] = """\
@inproceedings{silva2012predicting,
  author = {Ikaro Silva and George Moody and Daniel J. Scott and Leo A. Celi and Roger G. Mark},
  title = {{Predicting in-hospital mortality of ICU patients: the PhysioNet/Computing in Cardiology challenge 2012}},
  booktitle = {Computing in Cardiology},
  year = {2012},
  url = {https://physionet.org/content/challenge-2012/1.0.0/}
}"""

    def __init__(
        self,
        val_share: float = 0.1,
        test_share: float = 0.1,
        every: float = 0.0,
        intensity: bool = False,
        batch_size: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        for name, value in {"val_share": val_share, "test_share": test_share}.items():
            if not 0 < value < 1:
                raise ValueError(f"{name} must lie in (0, 1), got {value}")
            if round(value * min(CLASSES)) < 1:
                least = f"1 of the {min(CLASSES)} deaths is a share of {1 / min(CLASSES):.2g}"
                raise ValueError(f"{name} must hold back some of each class, got {value}: {least}")
        if not val_share + test_share < 1:
            raise ValueError(f"val_share and test_share must leave some to train on, got {val_share} + {test_share}")
        minutes = round(every * 60) if 0 <= every <= STAY / 60 else -1
        if not (minutes >= 0 and abs(every * 60 - minutes) < 1e-6):
            raise ValueError(f"every must be a number of whole minutes in hours, from 0 to {STAY // 60}, got {every}")
        self.save_hyperparameters()
        self.val_share, self.test_share, self.intensity = val_share, test_share, intensity
        self.minutes = minutes
        self._splits: dict[str, tuple[Tensor, ...]] = {}

    @property
    def spec(self) -> Spec:
        channels, classes = len(CHANNELS) * (1 + self.intensity), len(CLASSES)
        shape = (1 + STAY // self.minutes if self.minutes else LONGEST, channels)
        fields = (Field(shape), Field(shape, torch.bool), Times(shape[:1]), Field((), torch.int64, classes))
        test = [round(self.test_share * count) for count in CLASSES]
        share = self.val_share / (1 - self.test_share)
        val = [round(share * (count - out)) for count, out in zip(CLASSES, test, strict=True)]
        sizes = {"train": sum(CLASSES) - sum(val) - sum(test), "val": sum(val), "test": sum(test)}
        return Spec(fields, {"in_channels": channels, "num_classes": classes}, sizes, "2")

    def prepare_data(self) -> None:
        """Downloads the files where they are missing; raises DataMissing, with the remedy, if that fails."""
        records()

    @property
    def preprocessing(self) -> list[list[Any]]:
        low, high, mean, scale = standards(self._own["train"]).tolist()
        if self.intensity:
            low, high = low + [0.0] * len(CHANNELS), high + [float(STAY)] * len(CHANNELS)  # no bounds for counts
            mean, scale = mean + [0.0] * len(CHANNELS), scale + self._usual.tolist()
        return [["at_least", low], ["at_most", high], ["subtract", mean], ["divide", scale]]

    def raw(self, split: str) -> tuple[Tensor, ...]:
        """Values in the files' units and, with `intensity`, numbers of observations; mask, times and labels."""
        return self._split(UNCHANGED, torch.ones(len(CHANNELS)))[split]

    def load(self, split: str) -> tuple[Tensor, ...]:
        if not self._splits:
            self._splits = self._split(standards(self._own["train"]), self._usual)
        return self._splits[split]

    def _indices(self) -> dict[str, Tensor]:
        labels, draw = records()["labels"], generator(self.seed, "train", 0, 2**31)
        rest, test = stratified(labels, self.test_share, draw, "test_share")
        train, val = stratified(labels[rest], self.val_share / (1 - self.test_share), draw)
        parts = {"train": rest[train], "val": rest[val], "test": test}
        for split, part in parts.items():
            if len(found := labels[part].unique()) < len(CLASSES):
                shares = f"val_share {self.val_share} and test_share {self.test_share}"
                raise ValueError(f"{shares} leave labels {found.tolist()} in the {split} split: take others")
        return parts

    @cached_property
    def _own(self) -> dict[str, Tensors]:
        """The observations of each split."""
        observed = rounded(records(), self.minutes) if self.minutes else records()
        return {split: among(observed, part) for split, part in self._indices().items()}

    @cached_property
    def _usual(self) -> Tensor:
        """1 + how often each channel was observed at the end of a stay, in the mean of the training split."""
        own = self._own["train"]
        return 1 + torch.bincount(own["channel"].long(), minlength=len(CHANNELS)) / len(own["labels"])

    def _split(self, channels: Tensor, usual: Tensor) -> dict[str, tuple[Tensor, ...]]:
        length = self.spec.batch[0].shape[0]
        splits: dict[str, tuple[Tensor, ...]] = {}
        for split, own in self._own.items():
            values, mask = dense(own, length, channels, 1 + self.intensity)
            if self.intensity:
                count(values, mask, usual)
            splits[split] = (values, mask, self._times(own, length), own["labels"])
        return splits

    def _times(self, observed: Tensors, length: int) -> Tensor:
        if not self.minutes:
            return clock(observed, length)
        return (self.minutes / 60 * torch.arange(length)).repeat(len(observed["labels"]), 1)


def records() -> Tensors:
    """All observations: record, minute, row (the number of the time in the record), channel, value; and the labels.

    They are in order of the channel, and of several of a channel at one time the last is there alone.
    """
    return _records(cache_dir(), data_dir())


@lru_cache(maxsize=1)
def _records(cache: Path, data: Path) -> Tensors:
    # of the folders, which a process may change: what was read from others is not what lies here
    return kept(cache / "physionet2012" / "observations-2.safetensors", lambda: parsed(_root() / "PhysioNet2012"))


def _root() -> Path:
    return provide(
        "PhysioNet2012",
        [f"PhysioNet2012/{name}" for name in SHA256],
        _download,
        f"put {', '.join(SHA256)} of {SOURCE} into {data_dir() / 'PhysioNet2012'}",
    )


def _download(root: Path) -> None:
    folder = root / "PhysioNet2012"
    folder.mkdir(exist_ok=True)
    for name, expected in SHA256.items():
        with urllib.request.urlopen(f"{SOURCE}/{name}") as answer:
            content = answer.read()
        if (found := hashlib.sha256(content).hexdigest()) != expected:
            raise ValueError(f"{SOURCE}/{name} has SHA-256 {found}, expected {expected}")
        (folder / name).write_bytes(content)

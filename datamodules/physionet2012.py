"""Intensive-care records of the PhysioNet challenge of 2012: irregular series, and who died in hospital."""

from __future__ import annotations

import hashlib
import io
import urllib.request
import zipfile
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from datamodules._arrays import ArrayDataModule, generator
from datamodules._files import cache_dir, data_dir, provide
from datamodules._kept import Tensors, kept
from datamodules._spec import Field, Spec
from datamodules.irregular_series import stratified

_MEASURED = {
    "mmHg": "DiasABP MAP NIDiasABP NIMAP NISysABP PaCO2 PaO2 SysABP",
    "mg/dL": "Bilirubin BUN Cholesterol Creatinine Glucose",
    "IU/L": "ALP ALT AST",
    "mmol/L": "HCO3 Lactate Mg",
    "mEq/L": "K Na",
    "1/min": "HR RespRate",
    "1/nL": "Platelets WBC",
    "µg/L": "TroponinI TroponinT",
    "%": "HCT SaO2",
    "g/dL": "Albumin",
    "°C": "Temp",
    "mL": "Urine",
    "kg": "Weight",
    "points": "GCS",
    "1": "FiO2 MechVent pH",
}
#: What is measured during a stay, and its unit.
SERIES = {name: unit for unit, names in _MEASURED.items() for name in names.split()}
#: What is known on admission, at time 0, and its unit; Gender is 0 for female and 1 for male.
ADMISSION = {"Age": "years", "Gender": "1", "Height": "cm"}
#: Kinds of intensive care, 1 to 4 in the files: a channel each, which is 0 or 1.
CARE = ("coronary care", "cardiac surgery recovery", "medical", "surgical")
CHANNELS = (*SERIES, *ADMISSION, *CARE)
#: Of the files: the most times of any record, and how many records there are of each class.
LONGEST, CLASSES = 202, (6878, 1122)
STAY = 48 * 60  # minutes of a stay that a record has

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
    Times are hours since admission; CHANNELS names the channels, SERIES and ADMISSION their units. Of several values
    of a channel at one time the last counts; a negative value, the files' sign for none, was not observed; what was
    known on admission was observed at time 0. A record without any measurement has that, and stays.

    Times are exact to the minute, unless `every` is given, in hours: then they are rounded down to multiples of it, at
    all of which each record has a row, 49 for 1 hour, and the last value of a channel between two of them counts.

    Sets a and b are put together, and a share `val_share` and `test_share` of each class, drawn by the seed, is held
    back. Values beyond the 0.1 % and 99.9 % quantiles of what the training split observed, typing errors among them,
    are moved to these, and channels standardised by its mean and deviation; one that it never observed, or only with
    one value, is left as it is, less that value.

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
        if not val_share + test_share < 1:
            raise ValueError(f"val_share and test_share must leave some to train on, got {val_share} + {test_share}")
        if not (0 <= every * 60 <= STAY and (every * 60) % 1 == 0):
            raise ValueError(f"every must be a number of whole minutes in hours, from 0 to {STAY // 60}, got {every}")
        self.save_hyperparameters()
        self.val_share, self.test_share, self.intensity = val_share, test_share, intensity
        self.minutes = int(every * 60)
        self._splits: dict[str, tuple[Tensor, ...]] = {}

    @property
    def spec(self) -> Spec:
        channels, classes = len(CHANNELS) * (1 + self.intensity), len(CLASSES)
        shape = (1 + STAY // self.minutes if self.minutes else LONGEST, channels)
        fields = (Field(shape), Field(shape, torch.bool), Field(shape[:1]), Field((), torch.int64, classes))
        test = [round(self.test_share * count) for count in CLASSES]
        share = self.val_share / (1 - self.test_share)
        val = [round(share * (count - out)) for count, out in zip(CLASSES, test, strict=True)]
        sizes = {"train": sum(CLASSES) - sum(val) - sum(test), "val": sum(val), "test": sum(test)}
        return Spec(fields, {"in_channels": channels, "num_classes": classes}, sizes, "2")

    def prepare_data(self) -> None:
        """Downloads the files where they are missing; raises DataMissing, with the remedy, if that fails."""
        records()

    def load(self, split: str) -> tuple[Tensor, ...]:
        if not self._splits:
            self._splits = self._split()
        return self._splits[split]

    def _indices(self) -> dict[str, Tensor]:
        labels, draw = records()["labels"], generator(self.seed, "train", 0, 2**31)
        rest, test = stratified(labels, self.test_share, draw)
        train, val = stratified(labels[rest], self.val_share / (1 - self.test_share), draw)
        return {"train": rest[train], "val": rest[val], "test": test}

    def _split(self) -> dict[str, tuple[Tensor, ...]]:
        parts, observed = self._indices(), records()
        length = 1 + int(observed["row"].max())
        if self.minutes:
            observed, length = rounded(observed, self.minutes), 1 + STAY // self.minutes
        own = {split: among(observed, part) for split, part in parts.items()}
        channels = standards(own["train"])
        splits = {split: dense(some, length, channels, 1 + self.intensity) for split, some in own.items()}
        if self.intensity:
            usual = 1 + splits["train"][1][..., : len(CHANNELS)].sum(1).float().mean(0)
            for values, mask in splits.values():
                count(values, mask, usual)
        return {split: (*splits[split], self._times(some, length), some["labels"]) for split, some in own.items()}

    def _times(self, observed: Tensors, length: int) -> Tensor:
        if not self.minutes:
            return clock(observed, length)
        return (self.minutes / 60 * torch.arange(length)).repeat(len(observed["labels"]), 1)


@cache
def records() -> Tensors:
    """All observations: record, minute, row (the number of the time in the record), channel, value; and the labels.

    They are in order of the channel, and of several of a channel at one time the last is there alone.
    """
    return kept(cache_dir() / "physionet2012" / "observations-2.safetensors", lambda: parsed(_root() / "PhysioNet2012"))


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


def parsed(folder: Path) -> Tensors:
    """The observations of sets a and b, as `records` has them."""
    import pandas as pd

    tables, labels, first = [], [], 0
    for part in "ab":
        with zipfile.ZipFile(folder / f"set-{part}.zip") as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".txt"))
            texts = [archive.read(name) for name in names]
        table = pd.read_csv(io.BytesIO(b"".join(texts)), header=None, names=["time", "name", "value"], dtype="str")
        table["record"] = np.repeat(np.arange(first, first + len(names)), [text.count(b"\n") for text in texts])
        died = pd.read_csv(folder / f"Outcomes-{part}.txt", index_col="RecordID")["In-hospital_death"]
        labels.append(died.loc[[int(Path(name).stem) for name in names]].to_numpy())
        tables.append(table)
        first += len(names)
    return {**_observations(pd.concat(tables)), "labels": torch.from_numpy(np.concatenate(labels)).long()}


def _observations(table: Any) -> Tensors:
    """Rows of (record, minute, channel, value), the kind of care spread over its channels."""
    care = torch.tensor(table.value[table.name == "ICUType"].astype("float32").to_numpy())
    channel = table.name.map({name: number for number, name in enumerate(CHANNELS)})
    table = table.assign(channel=channel).dropna()
    value = torch.tensor(table.value.astype("float32").to_numpy())
    minute = table.time.str[:2].astype("int32") * 60 + table.time.str[3:5].astype("int32")
    rows = torch.from_numpy(np.stack([table.record, minute, table.channel], 1).astype("int16"))
    numbers = torch.arange(len(care) * len(CARE))
    kind = numbers % len(CARE)
    spread = torch.stack([numbers // len(CARE), 0 * kind, len(CHANNELS) - len(CARE) + kind], 1).short()
    observed = value >= 0
    rows = torch.cat([rows[observed], spread])
    value = torch.cat([value[observed], (care[:, None] == torch.arange(1, len(CARE) + 1)).flatten().float()])
    return _ordered(rows, value)


def _ordered(rows: Tensor, value: Tensor) -> Tensors:
    """Rows of (record, minute, channel) in order of the channel, without those that a later one takes the place of."""
    record, minute, channel = rows.long().unbind(1)
    moments, place = torch.unique(record * 4096 + minute, return_inverse=True)  # in order of record, then of time
    counts = torch.bincount(moments // 4096)
    row = place - (counts.cumsum(0) - counts)[record]
    order = (channel * len(moments) + place).argsort(stable=True)
    key = (channel * len(moments) + place)[order]
    last = order[torch.cat([key[1:] != key[:-1], torch.ones(1, dtype=torch.bool)])]
    found = {"record": record, "minute": minute, "row": row, "channel": channel}
    return {name: x[last].short() for name, x in found.items()} | {"value": value[last]}


def among(observed: Tensors, part: Tensor) -> Tensors:
    """The observations of some records, which are numbered anew in the order in which `part` has them."""
    number = torch.full((len(observed["labels"]),), -1)
    number[part] = torch.arange(len(part))
    record = number[observed["record"].long()]
    there = record >= 0
    others = {name: observed[name][there] for name in ("minute", "row", "channel", "value")}
    return {**others, "record": record[there], "labels": observed["labels"][part]}


def standards(observed: Tensors) -> Tensor:
    """What `moments` says of each channel, (4, C)."""
    counts = torch.bincount(observed["channel"].long(), minlength=len(CHANNELS))
    return torch.stack([moments(x) for x in observed["value"].split(counts.tolist())], 1)


def moments(x: Tensor) -> Tensor:
    """The 0.1 % and 99.9 % quantiles of values, and their mean and deviation (not 0) when they are moved between."""
    if not len(x):
        return torch.tensor([-torch.inf, torch.inf, 0.0, 1.0])
    ordered = x.sort().values
    low, high = (ordered[round(share * (len(x) - 1))] for share in (0.001, 0.999))
    ordered = ordered.clamp(low, high)
    deviation = ordered.std(correction=0)
    return torch.stack([low, high, ordered.mean(), torch.where(deviation > 0, deviation, 1.0)])


def rounded(observed: Tensors, minutes: int) -> Tensors:
    """The last observation of each channel within every so many minutes, whose number is its row."""
    row = observed["minute"] // minutes
    same = [observed[name] for name in ("record", "channel")] + [row]
    last = torch.ones(len(row), dtype=torch.bool)
    last[:-1] = torch.stack([x[1:] != x[:-1] for x in same]).any(0)
    found = {**observed, "row": row, "minute": row * minutes}
    return {name: x if name == "labels" else x[last] for name, x in found.items()}


def dense(observed: Tensors, length: int, channels: Tensor, wider: int = 1) -> tuple[Tensor, Tensor]:
    """Values (N, T, W), standardised, T = `length`, and a mask of what was observed; others are 0.

    W is `wider` times the number of channels, and beyond these nothing is.
    """
    record, row, channel = (observed[name].long() for name in ("record", "row", "channel"))
    low, high, mean, deviation = channels[:, channel]
    values = torch.zeros(len(observed["labels"]), length, wider * len(CHANNELS))
    mask = torch.zeros(values.shape, dtype=torch.bool)
    values[record, row, channel] = (observed["value"].clamp(low, high) - mean) / deviation
    mask[record, row, channel] = True
    return values, mask


def clock(observed: Tensors, length: int) -> Tensor:
    """The times (N, T) of each record in hours; one of fewer than T times ends with later ones, an hour apart."""
    record, row = observed["record"].long(), observed["row"].long()
    times = torch.zeros(len(observed["labels"]), length)
    times[record, row] = observed["minute"] / 60
    last = torch.zeros(len(times), dtype=torch.int64).scatter_reduce_(0, record, row, "amax")[:, None]
    after = torch.arange(length) - last
    return torch.where(after > 0, times.gather(1, last) + after, times)


def count(values: Tensor, mask: Tensor, usual: Tensor) -> None:
    """Writes to the channels after the first C how often these were observed up to each time, over a usual number."""
    often, seen = values[..., len(CHANNELS) :], mask[..., : len(CHANNELS)]
    some = seen.any(-1, keepdim=True)
    often.copy_(seen).cumsum_(1).div_(usual).mul_(some)
    mask[..., len(CHANNELS) :] = some

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
from datamodules._irregular import IrregularSeries
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

    Sets a and b are put together, and a share `val_share` and `test_share` of each class, drawn by the seed, is held
    back. Values beyond the 0.1 % and 99.9 % quantiles of what the training split observed, typing errors among them,
    are moved to these, and channels standardised by its mean and deviation; one that it never observed, or only with
    one value, is left as it is, less that value.

    Files are read from `PhysioNet2012/` of the data folder or downloaded, parsed once (seconds), and kept in the cache
    folder with a checksum. Raises ValueError for shares that do not leave all splits some of each class, and
    DataMissing, with the remedy, where there are no files and none can be had.

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

    def __init__(self, val_share: float = 0.1, test_share: float = 0.1, batch_size: int = 128, seed: int = 0) -> None:
        super().__init__(batch_size, seed)
        for name, value in {"val_share": val_share, "test_share": test_share}.items():
            if not 0 < value < 1:
                raise ValueError(f"{name} must lie in (0, 1), got {value}")
        if not val_share + test_share < 1:
            raise ValueError(f"val_share and test_share must leave some to train on, got {val_share} + {test_share}")
        self.save_hyperparameters()
        self.val_share, self.test_share = val_share, test_share
        self._splits: dict[str, tuple[Tensor, ...]] = {}

    @property
    def spec(self) -> Spec:
        shape, classes = (202, len(CHANNELS)), len(self.class_names)
        fields = (Field(shape), Field(shape, torch.bool), Field(shape[:1]), Field((), torch.int64, classes))
        sizes = {split: len(part) for split, part in self._indices().items()}
        return Spec(fields, {"in_channels": len(CHANNELS), "num_classes": classes}, sizes, "1")

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
        training = torch.zeros(len(observed["labels"]), dtype=torch.bool)
        training[parts["train"]] = True
        values, times = dense(observed | {"value": standardised(observed, training)})
        return {
            split: (*IrregularSeries.with_gaps(values[part], times[part]).tensors, observed["labels"][part])
            for split, part in parts.items()
        }


@cache
def records() -> Tensors:
    """All observations, one a row: record, minute, channel and value; and the labels of the records."""
    return kept(cache_dir() / "physionet2012" / "observations-1.safetensors", lambda: parsed(_root() / "PhysioNet2012"))


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
    """The observations of sets a and b in order of the record and of the file's lines."""
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
    return {"record": rows[:, 0], "minute": rows[:, 1], "channel": rows[:, 2], "value": value}


def standardised(observed: Tensors, training: Tensor) -> Tensor:
    """The values between two quantiles of their channel, less its mean and over its deviation, all of `training`."""
    channel, value = observed["channel"].long(), observed["value"]
    used = training[observed["record"].long()]
    order = channel[used].argsort(stable=True)
    parts = value[used][order].split(torch.bincount(channel[used], minlength=len(CHANNELS)).tolist())
    low, high, mean, deviation = torch.stack([moments(part) for part in parts], 1)[:, channel]
    return (value.clamp(low, high) - mean) / deviation


def moments(x: Tensor) -> Tensor:
    """The 0.1 % and 99.9 % quantiles of values, and their mean and deviation (not 0) when they are moved between."""
    if not len(x):
        return torch.tensor([-torch.inf, torch.inf, 0.0, 1.0])
    ordered = x.sort().values
    low, high = (ordered[round(share * (len(x) - 1))] for share in (0.001, 0.999))
    ordered = ordered.clamp(low, high)
    deviation = ordered.std(correction=0)
    return torch.stack([low, high, ordered.mean(), torch.where(deviation > 0, deviation, 1.0)])


def dense(observed: Tensors) -> tuple[Tensor, Tensor]:
    """Values (N, T, C) with NaN for what was not observed, and times (N, T) in hours, each record's own.

    A record that has fewer than T times ends with later ones, an hour apart, at which nothing was observed.
    """
    record, minute = observed["record"].long(), observed["minute"].long()
    moments, place = torch.unique(record * 4096 + minute, return_inverse=True)  # in order of record, then of time
    owner, size = moments // 4096, len(observed["labels"])
    counts = torch.bincount(owner, minlength=size)
    row = torch.arange(len(moments)) - (counts.cumsum(0) - counts)[owner]
    values = torch.full((size, int(counts.max()), len(CHANNELS)), torch.nan)
    values[record, row[place], observed["channel"].long()] = observed["value"]
    times = torch.zeros(values.shape[:2])
    times[owner, row] = (moments % 4096) / 60
    last = times.gather(1, (counts - 1)[:, None])
    index = torch.arange(values.shape[1])
    return values, torch.where(index < counts[:, None], times, last + 1.0 + index - counts[:, None])

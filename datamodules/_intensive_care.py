"""The records of the PhysioNet challenge of 2012 as rows of observations, and these as series."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules._kept import Tensors

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
STAY = 48 * 60  # minutes of a stay that a record has
#: What `moments` says of channels that are to stay in their units.
UNCHANGED = torch.tensor([-torch.inf, torch.inf, 0.0, 1.0])[:, None].expand(-1, len(CHANNELS))


def parsed(folder: Path) -> Tensors:
    """The observations of sets a and b, as `records` has them."""
    import pandas as pd

    tables, labels, first = [], [], 0
    for part in "ab":
        with zipfile.ZipFile(folder / f"set-{part}.zip") as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".txt"))
            texts = [archive.read(name).rstrip(b"\n") + b"\n" for name in names]
        table = pd.read_csv(io.BytesIO(b"".join(texts)), header=None, names=["time", "name", "value"], dtype="str")
        table["record"] = np.repeat(np.arange(first, first + len(names)), [text.count(b"\n") for text in texts])
        died = pd.read_csv(folder / f"Outcomes-{part}.txt", index_col="RecordID")["In-hospital_death"]
        labels.append(died.loc[[int(Path(name).stem) for name in names]].to_numpy())
        tables.append(table)
        first += len(names)
    return {**_observations(pd.concat(tables)), "labels": torch.from_numpy(np.concatenate(labels)).long()}


def _observations(table: Any) -> Tensors:
    """Rows of (record, minute, channel, value), the kind of care spread over its channels."""
    kinds = table[table.name == "ICUType"]
    care = torch.tensor(kinds.value.astype("float32").to_numpy())
    channel = table.name.map({name: number for number, name in enumerate(CHANNELS)})
    table = table.assign(channel=channel).dropna()
    value = torch.tensor(table.value.astype("float32").to_numpy())
    minute = table.time.str[:2].astype("int32") * 60 + table.time.str[3:5].astype("int32")
    rows = torch.from_numpy(np.stack([table.record, minute, table.channel], 1).astype("int16"))
    record = torch.tensor(kinds.record.to_numpy()).repeat_interleave(len(CARE))
    kind = torch.arange(len(CARE)).repeat(len(care))
    spread = torch.stack([record, 0 * kind, len(CHANNELS) - len(CARE) + kind], 1).short()
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

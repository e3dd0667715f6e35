"""The archives' series as irregular ones: of their own length each, and with values lost at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules._arrays import generator
from datamodules._irregular import IrregularSeries
from datamodules._spec import Field, Spec
from datamodules._times import Times
from datamodules.series import Archived


class IrregularUCR(Archived):
    """A labelled set of series of the UCR or UEA archive, with a share of its values lost, of any lengths.

    A batch is (values, mask, times, labels): (B, T, C), (B, T, C), (B, T) and (B,), with T the longest series of the
    set. Times count from 0 in units of the series' sampling interval. A shorter series ends with times at which nothing
    was observed, and a value that the archive itself lacks was not observed.

    A share `missing` of the values is lost at random, in every series and channel alike and never the first; what is
    lost depends on the seed. Each channel is standardised by the mean and deviation of what is left of the training
    split. A share `val_share` of the archive's training split, drawn for each class alike, is the validation split.

    Sets that aeon bundles (BasicMotions, JapaneseVowels, GunPoint, …) need no download; others are found as by `UCR`.
    Raises ValueError for an unknown name, a regression set, shares outside [0, 1), and a val_share that leaves nothing
    of a class to train on.
    """

    def __init__(
        self,
        name: str = "BasicMotions",
        missing: float = 0.0,
        val_share: float = 0.2,
        batch_size: int = 16,
        seed: int = 0,
    ) -> None:
        super().__init__(name, batch_size, seed)
        for argument, value in {"missing": missing, "val_share": val_share}.items():
            if not 0 <= value < 1:
                raise ValueError(f"{argument} must lie in [0, 1), got {value}")
        self.save_hyperparameters()
        self.missing, self.val_share = missing, val_share
        self._splits: dict[str, tuple[IrregularSeries, Tensor]] = {}

    @property
    def spec(self) -> Spec:
        values, *_ = self.load("train")
        (length, channels), classes = values.shape[1:], len(self.class_names)
        fields = (
            Field((length, channels)),
            Field((length, channels), torch.bool),
            Times((length,)),
            Field((), torch.int64, classes),
        )
        sizes = {split: len(self.load(split)[0]) for split in ("train", "val", "test")}
        return Spec(
            fields,
            {"in_channels": channels, "num_classes": classes},
            sizes,
            self.version,
        )

    @property
    def preprocessing(self) -> list[list[Any]]:
        mean, deviation = moments(self._series("train")[0])
        return [["subtract", mean.tolist()], ["divide", deviation.tolist()]]

    def raw(self, split: str) -> tuple[Tensor, ...]:
        """Values in the archive's unit, zero where they are missing, mask, times and labels."""
        series, labels = self._series(split)
        return (*series.tensors, labels)

    def load(self, split: str) -> tuple[Tensor, ...]:
        (mean, deviation), (x, labels) = moments(self._series("train")[0]), self._series(split)
        return (*IrregularSeries((x.values - mean) / deviation, x.mask, x.times).tensors, labels)

    def _series(self, split: str) -> tuple[IrregularSeries, Tensor]:
        """What is left of a split's series, not yet standardised, and the labels."""
        if not self._splits:
            self._splits = self._split()
        return self._splits[split]

    def _split(self) -> dict[str, tuple[IrregularSeries, Tensor]]:
        (given, labels), (tested, test_labels) = self._read("train"), self._read("test")
        length = max(series.shape[1] for part in (given, tested) for series in part)
        draw = generator(self.seed, "train", 0, 2**31)
        fitted, held_out = stratified(labels, self.val_share, draw)
        values = padded(given, length)
        parts = {"train": values[fitted], "val": values[held_out], "test": padded(tested, length)}
        numbers = {"train": labels[fitted], "val": labels[held_out], "test": test_labels}
        times = torch.arange(float(length))
        series = {
            split: IrregularSeries.with_gaps(part, times.repeat(len(part), 1)).thinned(self.missing, draw)
            for split, part in parts.items()
        }
        return {split: (x, numbers[split]) for split, x in series.items()}


def padded(series: list[np.ndarray] | np.ndarray, length: int) -> Tensor:
    """Series of shapes (C, T_i) as one tensor (N, length, C), with NaN where one has ended."""
    out = torch.full((len(series), length, series[0].shape[0]), torch.nan)
    for place, values in zip(out, series, strict=True):
        place[: values.shape[1]] = torch.from_numpy(values.T)
    return out


def stratified(labels: Tensor, share: float, draw: torch.Generator, name: str = "val_share") -> tuple[Tensor, Tensor]:
    """Indices of the samples that are kept and of those held out: round(share n) of the n of each class.

    Raises ValueError for a share, called by its name, that leaves none of a class.
    """
    order = torch.randperm(len(labels), generator=draw)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        own = order[labels[order] == label]
        if (count := round(share * len(own))) == len(own):
            raise ValueError(f"{name} {share} leaves no series of class {int(label)} to train on: take less")
        held_out[own[:count]] = True
    return (~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0]


def moments(series: IrregularSeries) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel over what was observed, (C,); 0 and 1 of a channel that never varies."""
    count = series.mask.sum((0, 1)).clamp(min=1)
    mean = series.values.sum((0, 1)) / count
    square = torch.where(series.mask, series.values - mean, 0.0).square().sum((0, 1)) / count
    return mean, torch.where(square > 0, square.sqrt(), 1.0)

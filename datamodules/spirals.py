"""Spirals in the plane that turn one way or the other, at regular or irregular times."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from datamodules._arrays import ArrayDataModule, generator
from datamodules._irregular import IrregularSeries
from datamodules._spec import Field, Spec

END = 4 * math.pi  # of a spiral: two turns


class Spirals(ArrayDataModule):
    """Two turns of a spiral inward, clockwise or not, from an angle that is drawn at random.

        x(t) = s cos(phi + t) / (1 + t / 2) + noise,   y(t) = sin(phi + t) / (1 + t / 2) + noise,   0 <= t <= 4 pi

    with s = 1 (label 0) or -1 (label 1), every other series, phi uniform on [0, 2 pi] and Gaussian noise. Series are
    observed at `length` equidistant times or, if `irregular`, at as many times of their own, drawn uniformly from the
    interval; a share `missing` of the values is then lost at random, never the first.

    A batch is (values, mask, times, labels) of shapes (B, T, 2), (B, T, 2), (B, T) and (B,). Raises ValueError for a
    size below 1, a length below 2, noise below zero and a share outside [0, 1).

    Source: the example of P. Kidger's torchcde and of "Neural controlled differential equations for irregular time
    series", arXiv:2005.08926: 128 series each to train and test, 100 times, noise 0.01. The validation split, irregular
    times and missing values are ours.
    """

    citation: ClassVar[str] = """\
@inproceedings{kidger2020neuralcde,
  author = {Patrick Kidger and James Morrill and James Foster and Terry Lyons},
  title = {{Neural Controlled Differential Equations for Irregular Time Series}},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2020},
  url = {https://arxiv.org/abs/2005.08926}
}"""

    class_names: ClassVar[tuple[str, ...]] = ("anticlockwise", "clockwise")

    def __init__(
        self,
        length: int = 100,
        irregular: bool = False,
        missing: float = 0.0,
        noise: float = 0.01,
        train_size: int = 128,
        val_size: int = 128,
        test_size: int = 128,
        batch_size: int = 32,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        sizes = {"train_size": train_size, "val_size": val_size, "test_size": test_size}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if length < 2:
            raise ValueError(f"length must be at least 2, got {length}")
        if not noise >= 0:
            raise ValueError(f"noise must not be negative, got {noise}")
        if not 0 <= missing < 1:
            raise ValueError(f"missing must lie in [0, 1), got {missing}")
        self.save_hyperparameters()
        self.observations, self.irregular, self.missing, self.noise = length, irregular, missing, noise
        self.sizes = {"train": train_size, "val": val_size, "test": test_size}

    @property
    def spec(self) -> Spec:
        shape = (self.observations, 2)
        fields = (Field(shape), Field(shape, torch.bool), Field((self.observations,)), Field((), torch.int64, 2))
        return Spec(fields, {"in_channels": 2, "num_classes": 2}, self.sizes, "1")

    def load(self, split: str) -> tuple[Tensor, ...]:
        draw, size = generator(self.seed, split, 0, 2**31), self.sizes[split]
        label = torch.arange(size) % 2
        phase = 2 * math.pi * torch.rand(size, 1, generator=draw)
        times = self.times(size, draw)
        values = spiral(1 - 2 * label[:, None], phase, times)
        values = values + self.noise * torch.randn(values.shape, generator=draw)
        return (*IrregularSeries.with_gaps(values, times).thinned(self.missing, draw).tensors, label)

    def times(self, size: int, draw: torch.Generator) -> Tensor:
        """When each series is observed, (size, T)."""
        if not self.irregular:
            return torch.linspace(0, END, self.observations).repeat(size, 1)
        # drawn in float64, and kept further apart than the rounding to float32
        times = (END * torch.rand(size, self.observations, generator=draw, dtype=torch.float64)).sort(1).values
        return (times + 1e-5 * torch.arange(self.observations)).float()


def spiral(turn: Tensor, phase: Tensor, times: Tensor) -> Tensor:
    """(x, y) without noise, (N, T, 2), of the sense of turning and the phase, (N, 1), at times (N, T)."""
    radius = 1 / (1 + times / 2)
    return torch.stack([turn * (phase + times).cos() * radius, (phase + times).sin() * radius], -1)

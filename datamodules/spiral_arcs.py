"""Parts of spirals that turn one way or the other, seen at irregular times, and what comes after them."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from datamodules._arrays import ArrayDataModule, generator
from datamodules._irregular import IrregularSeries
from datamodules._spec import Field, Spec

GROWTH = 0.15  # of the radius with the angle


class SpiralArcs(ArrayDataModule):
    """Parts of an Archimedean spiral outward, anticlockwise or clockwise, seen at irregular times with noise.

        x(t) = 0.15 (phi + t) cos(phi + t),   y(t) = s 0.15 (phi + t) sin(phi + t)

    with s = 1 or -1, every other series. Held-out series are seen until t = pi, half a turn, and go on until t = 2 pi;
    those of the training go on until 3/2 pi and are seen until a time of their own, uniform on [pi/2, 3/2 pi]. So the
    last part of what is held out lies further ahead than anything in training, but never outside the spiral's part that
    was seen there: phi is uniform on [pi, 2 pi], in training on [pi, 5/2 pi].

    The times are drawn uniformly, `length` a turn. Seen are the values with Gaussian noise at the first time and up to
    the last, of which a share `missing` is lost at random, never the first.

    A batch is (values, mask, times, normals) of shapes (B, T, 2), (B, T, 2), (B, T) and (B, latent_features), with T =
    `length`, in training 3/4 of it. `normals` are standard normal numbers for models that sample a latent state: drawn
    anew for each training batch, fixed for held-out series. `truth` gives the points without noise at all times. Raises
    ValueError for a size below 1, a length below 4, noise that is not positive, and a share outside [0, 1).

    Source: the spirals of R. T. Q. Chen, Y. Rubanova, J. Bettencourt and D. Duvenaud, "Neural ordinary differential
    equations", NeurIPS 2018, arXiv:1806.07366, in the form of the example of torchdiffeq: 1000 series in two senses,
    parts of a longer spiral. Deliberate differences: both senses share a centre and a law, so that one point does not
    tell them apart; irregular times with gaps, parts of several lengths, and other radii and noise.
    """

    citation: ClassVar[str] = """\
@inproceedings{chen2018neural,
  author = {Ricky T. Q. Chen and Yulia Rubanova and Jesse Bettencourt and David Duvenaud},
  title = {{Neural Ordinary Differential Equations}},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2018},
  url = {https://arxiv.org/abs/1806.07366}
}"""

    def __init__(
        self,
        length: int = 24,
        missing: float = 0.25,
        noise: float = 0.1,
        latent_features: int = 4,
        train_size: int = 1000,
        val_size: int = 500,
        test_size: int = 500,
        batch_size: int = 50,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        sizes = {"train_size": train_size, "val_size": val_size, "test_size": test_size}
        for name, value in {**sizes, "latent_features": latent_features}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if length < 4:
            raise ValueError(f"length must be at least 4, got {length}")
        if not noise > 0:
            raise ValueError(f"noise must be positive, got {noise}")
        if not 0 <= missing < 1:
            raise ValueError(f"missing must lie in [0, 1), got {missing}")
        self.save_hyperparameters()
        self.missing, self.noise, self.latent_features = missing, noise, latent_features
        self.lengths = {"train": 3 * length // 4, "val": length, "test": length}
        self.sizes = {"train": train_size, "val": val_size, "test": test_size}

    @property
    def spec(self) -> Spec:
        series = (self.lengths["train"], 2)
        fields = (Field(series), Field(series, torch.bool), Field(series[:1]), Field((self.latent_features,)))
        arguments = {"in_channels": 2, "noise": self.noise, "latent_features": self.latent_features}
        return Spec(fields, arguments, self.sizes, "1")

    def load(self, split: str) -> tuple[Tensor, ...]:
        points, times, until, draw = self._drawn(split)
        noisy = points + self.noise * torch.randn(points.shape, generator=draw)
        seen = times <= until
        seen[:, 0] = True
        series = IrregularSeries.with_gaps(noisy.where(seen[..., None], torch.nan), times).thinned(self.missing, draw)
        return (*series.tensors, torch.randn(len(times), self.latent_features, generator=draw))

    def truth(self, split: str) -> Tensor:
        """The points without noise at all times, (N, T, 2)."""
        return self._drawn(split)[0]

    def transform(self, batch: tuple[Tensor, ...], generator: torch.Generator) -> tuple[Tensor, ...]:
        *series, normals = batch
        return (*series, torch.randn(normals.shape, generator=generator).to(normals.device))

    def _drawn(self, split: str) -> tuple[Tensor, Tensor, Tensor, torch.Generator]:
        """Points (N, T, 2), times (N, T), until when each series is seen, (N, 1), and the generator for the rest."""
        draw, size, length = generator(self.seed, split, 0, 2**31), self.sizes[split], self.lengths[split]
        training = split == "train"
        sense = 1.0 - 2 * (torch.arange(size) % 2)
        phase = math.pi * (1 + (1.5 if training else 1.0) * torch.rand(size, 1, generator=draw))
        until = math.pi * (0.5 + torch.rand(size, 1, generator=draw) if training else torch.ones(size, 1))
        # drawn in float64, and kept further apart than the rounding to float32
        drawn = (1.5 if training else 2.0) * math.pi * torch.rand(size, length, generator=draw, dtype=torch.float64)
        times = (drawn.sort(1).values + 1e-5 * torch.arange(length)).float()
        return spiral(sense[:, None], phase + times), times, until, draw


def spiral(sense: Tensor, angle: Tensor) -> Tensor:
    """(x, y), (N, T, 2), of the sense of turning, (N, 1), at angles (N, T)."""
    return GROWTH * angle[..., None] * torch.stack([angle.cos(), sense * angle.sin()], -1)

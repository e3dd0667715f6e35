"""Paths of the Lorenz attractor with noise, seen with noise."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from datamodules._arrays import ArrayDataModule, generator
from datamodules._spec import Field, Spec
from datamodules._times import Times

VOLATILITY = (0.1, 0.28, 0.3)


class LorenzPaths(ArrayDataModule):
    """Paths of the stochastic Lorenz system from a normal start, in units of their deviations, seen with noise.

        dX = 10 (Y - X) dt           + 0.1 X dW_1
        dY = (X (28 - Z) - Y) dt     + 0.28 Y dW_2        X(0), Y(0), Z(0) ~ N(0, 1)
        dZ = (X Y - 8/3 Z) dt        + 0.3 Z dW_3

    in Ito's sense, at `length` equidistant times from 0 to `horizon`, by Euler's method with steps of at most `step`.
    Each coordinate is normalised by mean and deviation of the training paths over all times, and then seen with
    Gaussian noise. The start lies beside the saddle from which paths leave for either of two lobes.

    A batch is (values, mask, times, normals) of shapes (B, T, 3), the same of booleans, all true, (B, T) and
    (B, T, latent_features). `normals` are standard normal numbers for models that draw a latent path: anew for each
    training batch, fixed for held-out paths. `truth` gives the normalised paths without noise, and `raw` the values
    before normalising. Raises ValueError for a size below 1, a length below 2, a horizon, noise or step that is not
    positive and finite, and for steps so long that the paths are not finite.

    Source: X. Li, T.-K. L. Wong, R. T. Q. Chen and D. Duvenaud, "Scalable gradients for stochastic differential
    equations", AISTATS 2020, arXiv:2001.01328, in the form of torchsde's Lorenz example: 1024 paths on [0, 2].
    Deliberate differences: 50 times in place of 100, noise of deviation 0.1 in place of 0.01, validation and test
    paths.
    """

    citation: ClassVar[str] = """\
@inproceedings{li2020scalable,
  author = {Xuechen Li and Ting-Kam Leonard Wong and Ricky T. Q. Chen and David Duvenaud},
  title = {{Scalable Gradients for Stochastic Differential Equations}},
  booktitle = {International Conference on Artificial Intelligence and Statistics},
  year = {2020},
  url = {https://arxiv.org/abs/2001.01328}
}"""

    def __init__(
        self,
        length: int = 50,
        horizon: float = 2.0,
        noise: float = 0.1,
        step: float = 0.002,
        latent_features: int = 4,
        train_size: int = 1024,
        val_size: int = 2048,
        test_size: int = 2048,
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        sizes = {"train_size": train_size, "val_size": val_size, "test_size": test_size}
        for name, value in {**sizes, "latent_features": latent_features}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if length < 2:
            raise ValueError(f"length must be at least 2, got {length}")
        for name, size in {"horizon": horizon, "noise": noise, "step": step}.items():
            if not 0 < size < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {size}")
        self.save_hyperparameters()
        self.observations, self.horizon, self.step = length, horizon, step
        self.noise, self.latent_features = noise, latent_features
        self.sizes = {"train": train_size, "val": val_size, "test": test_size}

    @property
    def spec(self) -> Spec:
        shape = (self.observations, 3)
        normals = Field((self.observations, self.latent_features))
        fields = (Field(shape), Field(shape, torch.bool), Times(shape[:1]), normals)
        arguments = {"in_channels": 3, "noise": self.noise, "latent_features": self.latent_features}
        return Spec(fields, arguments, self.sizes, "1")

    @property
    def preprocessing(self) -> list[list[Any]]:
        mean, deviation = self.normalisation
        return [["subtract", mean.tolist()], ["divide", deviation.tolist()]]

    @cached_property
    def normalisation(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the training paths over all times, (3,) each."""
        paths = self._paths("train")[0]
        return paths.mean((0, 1)), paths.std((0, 1))

    def load(self, split: str) -> tuple[Tensor, ...]:
        paths, draw = self._paths(split)
        values = self._normalised(paths)
        values = values + self.noise * torch.randn(values.shape, generator=draw)
        times = torch.linspace(0, self.horizon, self.observations).repeat(len(values), 1)
        normals = torch.randn(*times.shape, self.latent_features, generator=draw)
        return values, torch.ones_like(values, dtype=torch.bool), times, normals

    def raw(self, split: str) -> tuple[Tensor, ...]:
        (mean, deviation), (values, *others) = self.normalisation, self.load(split)
        return (values * deviation + mean, *others)

    def truth(self, split: str) -> Tensor:
        """The normalised paths without noise, (N, T, 3)."""
        return self._normalised(self._paths(split)[0])

    def transform(self, batch: tuple[Tensor, ...], generator: torch.Generator) -> tuple[Tensor, ...]:
        *series, normals = batch
        return (*series, torch.randn(normals.shape, generator=generator).to(normals.device))

    def _normalised(self, paths: Tensor) -> Tensor:
        mean, deviation = self.normalisation
        return (paths - mean) / deviation

    def _paths(self, split: str) -> tuple[Tensor, torch.Generator]:
        """Paths (N, T, 3) before normalising, and the generator for the rest."""
        gap, draw = self.horizon / (self.observations - 1), generator(self.seed, split, 0, 2**31)
        substeps = math.ceil(gap / self.step - 1e-6)
        start, h = torch.randn(self.sizes[split], 3, generator=draw), gap / substeps
        steps = h**0.5 * torch.randn(substeps * (self.observations - 1), *start.shape, generator=draw)
        paths = lorenz(start, steps, h)[:, ::substeps]
        if not bool(paths.isfinite().all()):
            raise ValueError(f"step must be shorter than {h:g} for paths that stay finite: take 0.002")
        return paths, draw


def lorenz(start: Tensor, steps: Tensor, h: float) -> Tensor:
    """Euler's paths (N, S + 1, 3) from a start (N, 3) of Brownian steps (S, N, 3), each of length h in time."""
    volatility, path = start.new_tensor(VOLATILITY), [start]
    for dw in steps:
        x, y, z = path[-1].unbind(-1)
        drift = torch.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z], -1)
        path.append(path[-1] + h * drift + volatility * path[-1] * dw)
    return torch.stack(path, 1)

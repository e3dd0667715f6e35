"""Paths of an Ornstein-Uhlenbeck process that is driven ever further up, by noise that grows."""

from __future__ import annotations

import torch
from torch import Tensor

from datamodules._arrays import ArrayDataModule, generator
from datamodules._spec import Field, Spec

MU, THETA, SIGMA = 0.02, 0.1, 0.4 * 2 / 64


class ForcedOrnsteinUhlenbeck(ArrayDataModule):
    """Paths at t = 0, 1, …, length - 1, drawn from the exact transitions.

        dY = (mu t - theta Y) dt + sigma t dW,   mu = 0.02, theta = 0.1, sigma = 0.4 (2 / 64),   Y(0) uniform on [-1, 1]

    The transition from t to t + 1 is Gaussian, and the marginals have

        m(t) = (mu / theta) t - (mu / theta^2) (1 - e^(-theta t))
        v(t) = e^(-2 theta t) / 3 + sigma^2 (t^2 / a - 2 t / a^2 + 2 (1 - e^(-a t)) / a^3),   a = 2 theta
        Cov(Y(s), Y(t)) = e^(-theta (t - s)) v(s)   for s <= t

    A batch is (values, start, normals) of shapes (B, length, 1), (B, start_features) and (B, length - 1,
    noise_channels). The latter two are standard normal numbers, from which a model makes paths of its own: drawn anew
    for each training batch, fixed for held-out paths. Raises ValueError for a size below 1 and a length below 2.

    Source: P. Kidger, J. Foster, X. Li, H. Oberhauser and T. Lyons, "Neural SDEs as infinite-dimensional GANs", ICML
    2021, arXiv:2102.03657, with the numbers of torchsde's example: 8192 paths of 64 points. Deliberate differences:
    exact transitions in place of Euler steps of 0.1, splits to validate and to test, and no values are dropped: paths
    that are filled linearly are smoother than those of the process, and a generator would be taught their law.
    """

    def __init__(
        self,
        length: int = 64,
        start_features: int = 5,
        noise_channels: int = 3,
        train_size: int = 8192,
        val_size: int = 4096,
        test_size: int = 4096,
        batch_size: int = 1024,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed, drop_last=True)
        sizes = {"train_size": train_size, "val_size": val_size, "test_size": test_size}
        for name, value in {**sizes, "start_features": start_features, "noise_channels": noise_channels}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if length < 2:
            raise ValueError(f"length must be at least 2, got {length}")
        self.save_hyperparameters()
        self.points, self.start_features, self.noise_channels = length, start_features, noise_channels
        self.sizes = {"train": train_size, "val": val_size, "test": test_size}

    @property
    def spec(self) -> Spec:
        shapes = ((self.points, 1), (self.start_features,), (self.points - 1, self.noise_channels))
        noise = {"start_features": self.start_features, "noise_channels": self.noise_channels}
        arguments = {"channels": 1, "length": self.points, "scale": 3**-0.5, **noise}
        return Spec(tuple(map(Field, shapes)), arguments, self.sizes, "1")

    @property
    def times(self) -> Tensor:
        return torch.arange(self.points, dtype=torch.float64)

    def mean(self) -> Tensor:
        """m at all times, (length,)."""
        t = self.times
        return MU / THETA * t + MU / THETA**2 * (-THETA * t).expm1()

    def variance(self) -> Tensor:
        """v at all times, (length,)."""
        return (-2 * THETA * self.times).exp() / 3 + self._from_noise()

    def _from_noise(self) -> Tensor:
        """The part of the variance that does not come from Y(0): sigma^2 int_0^t s^2 e^(-a (t - s)) ds."""
        t, a = self.times, 2 * THETA
        return SIGMA**2 * (t.square() / a - 2 * t / a**2 - 2 * (-a * t).expm1() / a**3)

    def load(self, split: str) -> tuple[Tensor, ...]:
        size, draw = self.sizes[split], generator(self.seed, split, 0, 2**31)
        decay, noise = (-THETA * torch.ones((), dtype=torch.float64)).exp(), self._from_noise()
        deviations = (noise[1:] - decay.square() * noise[:-1]).sqrt()
        y = [2 * torch.rand(size, generator=draw, dtype=torch.float64) - 1]  # less the mean, which is 0 at first
        for deviation in deviations:
            y.append(decay * y[-1] + deviation * torch.randn(size, generator=draw, dtype=torch.float64))
        values = (torch.stack(y, 1) + self.mean())[..., None].float()
        return values, *self._noise(size, draw)

    def transform(self, batch: tuple[Tensor, ...], generator: torch.Generator) -> tuple[Tensor, ...]:
        values = batch[0]
        return values, *(part.to(values.device) for part in self._noise(len(values), generator))

    def _noise(self, size: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        shapes = ((size, self.start_features), (size, self.points - 1, self.noise_channels))
        start, normals = (torch.randn(shape, generator=draw) for shape in shapes)
        return start, normals

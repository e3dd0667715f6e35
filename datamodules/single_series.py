"""One series that was seen at a few times only, for models of the process behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from datamodules._arrays import StreamDataModule, generator
from datamodules._spec import Field, Spec
from datamodules._times import Times


class _SingleSeries(StreamDataModule):
    """The same series in every row of every batch, with normal numbers by which each row draws a path of its own.

    A batch is (values, mask, times, normals), of shapes (B, T, 1), (B, T, 1), (B, T) and (B, T, 1). The times are 0,
    those of the observations and `end`, and between any two of them as many more, equidistant, as it takes for gaps of
    at most `step`. `normals` are standard normal numbers, drawn anew for each training batch. An epoch counts
    `steps_per_epoch` batches; there is no validation split, since there is no other series.
    """

    def __init__(
        self, observed: Sequence[float], end: float, step: float, sizes: Mapping[str, int], batch_size: int, seed: int
    ) -> None:
        super().__init__(batch_size, seed)
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not step > 0:
            raise ValueError(f"step must be positive, got {step}")
        self.times, self.places = knots([0.0, *observed, *([end] if end > observed[-1] else [])], step)
        self.places = self.places[1 : len(observed) + 1]
        self.sizes = {"train": sizes["steps_per_epoch"], "val": 0, "test": sizes["test_size"]}

    def seen(self) -> Tensor:
        """The observations, (count,)."""
        raise NotImplementedError(f"{type(self).__name__} saw nothing")

    @property
    def arguments(self) -> dict[str, Any]:
        """What a model is to know of the process and the noise."""
        raise NotImplementedError(f"{type(self).__name__} tells nothing")

    @property
    def spec(self) -> Spec:
        shape = (len(self.times), 1)
        fields = (Field(shape), Field(shape, torch.bool), Times(shape[:1]), Field(shape))
        return Spec(fields, {"in_channels": 1, **self.arguments}, self.sizes, "1")

    def sample(self, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        times, device = torch.tensor(self.times), generator.device
        values, mask = torch.zeros(len(times), 1), torch.zeros(len(times), 1, dtype=torch.bool)
        values[self.places, 0], mask[self.places] = self.seen(), True
        rows = [part.to(device).expand(size, *part.shape) for part in (values, mask, times)]
        return (*rows, torch.randn(size, *values.shape, generator=generator, device=device))


class SegmentedCosine(_SingleSeries):
    """cos(2 pi t) at ten times in [0.3, 0.8] and ten in [1.2, 1.5], without noise, between 0 and 2.

    A batch is (values, mask, times, normals), the same series in each row: (B, T, 1), (B, T, 1), (B, T) and (B, T, 1).
    The times are 0, those of the observations and 2, with as many between them as it takes for gaps of at most `step`;
    `normals` are standard normal numbers, by which a model draws a path for each row, anew in every training batch. An
    epoch counts `steps_per_epoch` batches; there is no validation split. Models take it for values with Laplace noise
    of scale 0.05 around a process. Raises ValueError for a size below 1 and a step that is not positive.

    Source: torchsde's example to X. Li, T.-K. L. Wong, R. T. Q. Chen and D. Duvenaud, "Scalable gradients for
    stochastic differential equations", AISTATS 2020, arXiv:2001.01328.
    """

    SEEN: ClassVar[list[float]] = [0.3 + 0.5 * k / 9 for k in range(10)] + [1.2 + 0.3 * k / 9 for k in range(10)]

    def __init__(
        self, step: float = 0.02, batch_size: int = 64, steps_per_epoch: int = 100, test_size: int = 2048, seed: int = 0
    ) -> None:
        sizes = {"steps_per_epoch": steps_per_epoch, "test_size": test_size}
        super().__init__(self.SEEN, 2.0, step, sizes, batch_size, seed)
        self.save_hyperparameters()

    def seen(self) -> Tensor:
        return (2 * math.pi * torch.tensor(self.SEEN, dtype=torch.float64)).cos().float()

    @property
    def arguments(self) -> dict[str, Any]:
        return {"scale": 0.05, "likelihood": "laplace"}


class ObservedOrnsteinUhlenbeck(_SingleSeries):
    """A stationary Ornstein-Uhlenbeck process, dy = theta (mu - y) dt + sigma dW, seen `count` times with normal noise.

        x_k = y(t_k) + noise xi_k,   t_k = k horizon / count,   k = 1 … count

    The series is drawn from the law of the process, another one for each seed. All of it is Gaussian: likelihood and
    posterior have closed forms. Batches are those of `SegmentedCosine`, and the last time is t_count. Raises ValueError
    for a size below 1, and a step, horizon, noise, theta or sigma that is not positive.
    """

    def __init__(
        self,
        theta: float = 1.0,
        mu: float = 0.0,
        sigma: float = 0.5,
        noise: float = 0.2,
        count: int = 4,
        horizon: float = 2.0,
        step: float = 0.04,
        batch_size: int = 64,
        steps_per_epoch: int = 100,
        test_size: int = 16384,
        seed: int = 0,
    ) -> None:
        for name, value in {"horizon": horizon, "noise": noise, "theta": theta, "sigma": sigma}.items():
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {value}")
        if not math.isfinite(mu):
            raise ValueError(f"mu must be finite, got {mu}")
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        sizes = {"steps_per_epoch": steps_per_epoch, "test_size": test_size}
        observed = [horizon * ((k + 1) / count) for k in range(count)]  # the last is the horizon, to the last digit
        super().__init__(observed, horizon, step, sizes, batch_size, seed)
        self.save_hyperparameters()
        self.theta, self.mu, self.sigma, self.noise, self.count = theta, mu, sigma, noise, count
        self.gap = horizon / count

    def seen(self) -> Tensor:
        normals = torch.randn(2, self.count + 1, generator=generator(self.seed, "train", 0, 2**31), dtype=torch.float64)
        decay = math.exp(-self.theta * self.gap)
        deviation = self.sigma / math.sqrt(2 * self.theta)
        y = [deviation * normals[0, 0]]
        for xi in normals[0, 1:]:
            y.append(decay * y[-1] + deviation * math.sqrt(1 - decay**2) * xi)
        return (self.mu + torch.stack(y[1:]) + self.noise * normals[1, 1:]).float()

    @property
    def arguments(self) -> dict[str, Any]:
        process = {"theta": self.theta, "mu": self.mu, "sigma": self.sigma}
        return {"scale": self.noise, "likelihood": "normal", **process}


def knots(stops: Sequence[float], step: float) -> tuple[list[float], list[int]]:
    """The stops with equidistant times between them, at most `step` apart, and the places of the stops in these."""
    times, places = [stops[0]], [0]
    for start, end in pairwise(stops):
        count = math.ceil((end - start) / step - 1e-6)
        times += [start + (end - start) * k / count for k in range(1, count)] + [end]
        places.append(len(times) - 1)
    return times, places

"""Densities whose logarithm is known: a Gaussian in any dimension, and the plane's usual tests of generative models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from datamodules._arrays import StreamDataModule, generator
from datamodules._spec import Field, Spec

BLOCK = 512  # points whose distances to all nodes are held at once


class _Known(StreamDataModule):
    """Fresh samples of a density that is known: sizes and their checks."""

    eval_batch_size: ClassVar[int] = 5_000
    dim: int

    def __init__(self, batch_size: int, steps_per_epoch: int, val_size: int, test_size: int, seed: int) -> None:
        super().__init__(batch_size, seed)
        for name, value in {"steps_per_epoch": steps_per_epoch, "test_size": test_size}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if val_size < 0:
            raise ValueError(f"val_size must not be negative, got {val_size}")
        self.sizes = {"train": steps_per_epoch, "val": val_size, "test": test_size}

    @property
    def spec(self) -> Spec:
        return Spec((Field((self.dim,)),), {"in_features": self.dim}, self.sizes, "1")

    def log_density(self, x: Tensor) -> Tensor:
        """The logarithm of the density that the batches are drawn from, at x of shape (N, d): (N,) in float64."""
        raise NotImplementedError(f"{type(self).__name__} does not know its density")


class Gaussian(_Known):
    """The standard normal in `dim` dimensions. A batch is (x,), x of shape (B, dim).

    An epoch counts `steps_per_epoch` batches of fresh samples. Raises ValueError for a size below 1.
    """

    def __init__(
        self,
        dim: int = 2,
        batch_size: int = 256,
        steps_per_epoch: int = 100,
        val_size: int = 2_000,
        test_size: int = 5_000,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, steps_per_epoch, val_size, test_size, seed)
        if dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}")
        self.save_hyperparameters()
        self.dim = dim

    def sample(self, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        return (torch.randn(size, self.dim, generator=generator, device=generator.device),)

    def log_density(self, x: Tensor) -> Tensor:
        return -x.double().square().sum(1) / 2 - self.dim / 2 * math.log(2 * math.pi)


@dataclass(frozen=True)
class Curves:
    """Points drawn along curves in the plane, each with Gaussian noise.

    A curve k is chosen with equal odds and t = u^power, u uniform on [0, 1]; `at(k, t)` is the point without noise,
    and moves with t by no more than `speed`. A point of its own is a curve that stands still.
    """

    count: int
    noise: float
    power: float = 1.0
    speed: ClassVar[float]

    def at(self, k: Tensor, t: Tensor) -> Tensor:
        raise NotImplementedError

    def sample(self, size: int, generator: torch.Generator) -> Tensor:
        draw: dict[str, Any] = {"generator": generator, "device": generator.device}
        k = torch.randint(self.count, (size,), **draw)
        t = torch.rand(size, **draw) ** self.power
        return self.at(k, t) + self.noise * torch.randn(size, 2, **draw)

    def log_density(self, x: Tensor) -> Tensor:
        """log of mean_k int N(x; at(k, t), noise^2 I) dp(t), by Gauss-Legendre quadrature of t.

        Its nodes are at most 0.8 noise apart: the error is exp(-2 (pi / 0.8)^2) of the density, or e^-30.
        """
        size = math.ceil(2 * self.speed / self.noise) + 16 if self.speed else 1
        nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(size))
        t, law = (nodes + 1) / 2, 1 / self.power  # t = u^power has the density law t^(law - 1)
        log_weight = (weights / 2 * law * t ** (law - 1) / self.count).log().repeat(self.count)
        centres = self.at(torch.arange(self.count).repeat_interleave(size), t.repeat(self.count))
        constant = log_weight - math.log(2 * math.pi * self.noise**2)
        parts = [
            (constant - torch.cdist(block, centres).square() / (2 * self.noise**2)).logsumexp(1)
            for block in x.double().cpu().split(BLOCK)
        ]
        return torch.cat(parts).to(x.device)


class Circles(Curves):
    """Concentric circles whose radii are 3 k / count, k = 1 … count."""

    speed = 6 * math.pi

    def at(self, k: Tensor, t: Tensor) -> Tensor:
        angle = 2 * math.pi * t
        return (3 * (k + 1) / self.count)[:, None] * torch.stack([angle.cos(), angle.sin()], 1)


class Around(Curves):
    """Equidistant points on a circle of radius sqrt(8)."""

    speed = 0.0

    def at(self, k: Tensor, t: Tensor) -> Tensor:
        angle = 2 * math.pi * k.to(t) / self.count
        return math.sqrt(8) * torch.stack([angle.cos(), angle.sin()], 1)


class Spirals(Curves):
    """Two arms of a turn and a half, at all places equally dense in the plane rather than along the arm."""

    speed = math.pi * math.hypot(1, 3 * math.pi)

    def at(self, k: Tensor, t: Tensor) -> Tensor:
        angle = 3 * math.pi * t
        return (angle * (2 * k - 1) / 3)[:, None] * torch.stack([angle.cos(), -angle.sin()], 1)


class HalfCircles(Curves):
    """Two interleaving half circles of radius 1, as scikit-learn's make_moons draws them."""

    speed = math.pi

    def at(self, k: Tensor, t: Tensor) -> Tensor:
        x, y = (math.pi * t).cos(), (math.pi * t).sin()
        return torch.where((k == 0)[:, None], torch.stack([x, y], 1), torch.stack([1 - x, 0.5 - y], 1))


class Checkerboard:
    """Uniform on the eight dark squares, of side 2, of a board of four by four around the origin."""

    def sample(self, size: int, generator: torch.Generator) -> Tensor:
        draw: dict[str, Any] = {"generator": generator, "device": generator.device}
        x = 4 * torch.rand(size, **draw) - 2
        y = torch.rand(size, **draw) - 2 * torch.randint(2, (size,), **draw) + x.floor() % 2
        return 2 * torch.stack([x, y], 1)

    def log_density(self, x: Tensor) -> Tensor:
        cell = (x.double() / 2).floor()
        dark = (cell.sum(1) % 2 == 0) & (x.abs() <= 4).all(1)
        return torch.full_like(cell[:, 0], -math.log(32)).masked_fill(~dark, -math.inf)


SHAPES: dict[str, Curves | Checkerboard] = {
    "circles": Circles(2, 0.24),
    "rings": Circles(4, 0.08),
    "eight_gaussians": Around(8, math.sqrt(1 / 8)),
    "spirals": Spirals(2, 0.1, power=0.5),
    "checkerboard": Checkerboard(),
}


class Density(_Known):
    """A density in the plane by its name. A batch is (x,), x of shape (B, 2).

        circles          two circles of radii 1.5 and 3, noise 0.24
        rings            four circles of radii 0.75, 1.5, 2.25 and 3, noise 0.08
        eight_gaussians  eight of deviation 8^(-1/2) on a circle of radius 8^(1/2)
        spirals          two arms of a turn and a half, noise 0.1
        checkerboard     uniform on the eight dark squares of side 2 of a board of four by four

    `log_density` is exact: in closed form for the Gaussians and the checkerboard, else by quadrature along the curves,
    to rounding. The least negative log-likelihood of any model is thus known. An epoch counts `steps_per_epoch`
    batches of fresh samples. Raises ValueError for another name and for a size below 1.

    Source: W. Grathwohl, R. T. Q. Chen, J. Bettencourt, I. Sutskever and D. Duvenaud, "FFJORD", ICLR 2019,
    arXiv:1810.01367, in its scale. A difference: the spirals have no second, uniform noise, so that their density is
    known.
    """

    citation: ClassVar[str] = """\
@inproceedings{grathwohl2019ffjord,
  author = {Will Grathwohl and Ricky T. Q. Chen and Jesse Bettencourt and Ilya Sutskever and David Duvenaud},
  title = {{FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models}},
  booktitle = {International Conference on Learning Representations},
  year = {2019},
  url = {https://arxiv.org/abs/1810.01367}
}"""
    dim = 2

    def __init__(
        self,
        name: str = "eight_gaussians",
        batch_size: int = 256,
        steps_per_epoch: int = 100,
        val_size: int = 2_000,
        test_size: int = 5_000,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, steps_per_epoch, val_size, test_size, seed)
        if name not in SHAPES:
            raise ValueError(f"name must be one of {', '.join(map(repr, SHAPES))}, got {name!r}")
        self.save_hyperparameters()
        self.shape = SHAPES[name]

    def sample(self, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        return (self.shape.sample(size, generator),)

    def log_density(self, x: Tensor) -> Tensor:
        return self.shape.log_density(x)


class Moons(_Known):
    """Two interleaving half circles with Gaussian noise, centred and doubled. A batch is (x,), x of shape (B, 2).

    The raw values are drawn as by scikit-learn's make_moons: t uniform on [0, pi], one of (cos t, sin t) and
    (1 - cos t, 1/2 - sin t) with equal odds, and noise of deviation `noise`. In the batches x = (raw - 0.375) / 0.5,
    which makes a log-density smaller by 2 log 2. `log_density` is that of the batches, by quadrature along the curves.
    An epoch counts `steps_per_epoch` batches of fresh samples. Raises ValueError for a size below 1 and for noise that
    is not positive.

    Source: F. Pedregosa et al., "Scikit-learn: machine learning in Python", JMLR 12, 2011 (make_moons).
    """

    dim = 2
    centre, unit = 0.375, 0.5

    def __init__(
        self,
        noise: float = 0.1,
        batch_size: int = 256,
        steps_per_epoch: int = 100,
        val_size: int = 2_000,
        test_size: int = 5_000,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, steps_per_epoch, val_size, test_size, seed)
        if not noise > 0:
            raise ValueError(f"noise must be positive, got {noise}")
        self.save_hyperparameters()
        self.curves = HalfCircles(2, noise)

    @property
    def preprocessing(self) -> list[list[Any]]:
        return [["subtract", self.centre], ["divide", self.unit]]

    def sample(self, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        return (self._scaled(self.curves.sample(size, generator)),)

    def _scaled(self, raw: Tensor) -> Tensor:
        return (raw - self.centre) / self.unit

    def raw(self, split: str) -> tuple[Tensor, ...]:
        """The points of a held-out split as make_moons would draw them."""
        return (self.curves.sample(self.sizes[split], generator(self.seed, split, 0)),)

    def held_out(self, split: str) -> tuple[Tensor, ...]:
        return tuple(self._scaled(t).to(self.device) for t in self.raw(split))

    def log_density(self, x: Tensor) -> Tensor:
        return self.curves.log_density(x.double() * self.unit + self.centre) + 2 * math.log(self.unit)

"""Points with closed-form targets, drawn fresh: the population risk."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from datamodules._arrays import StreamDataModule, generator
from datamodules._spec import Field, Spec


class _Hajjar2022(StreamDataModule):
    """Fresh points in `dim` dimensions, as in the paper whose targets are below: sizes, their checks, the citation."""

    citation: ClassVar[str] = """\
@misc{hajjar2022symmetries,
  author = {Karl Hajjar and Lénaïc Chizat},
  title = {{Symmetries in the dynamics of wide two-layer neural networks}},
  year = {2022},
  eprint = {2211.08771},
  archiveprefix = {arXiv},
  url = {https://arxiv.org/abs/2211.08771}
}"""

    def __init__(
        self, dim: int, batch_size: int, steps_per_epoch: int, val_size: int, test_size: int, seed: int
    ) -> None:
        super().__init__(batch_size, seed)
        for name, value in {"dim": dim, "steps_per_epoch": steps_per_epoch, "test_size": test_size}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.dim = dim
        self.sizes = {"train": steps_per_epoch, "val": val_size, "test": test_size}

    @property
    def spec(self) -> Spec:
        return Spec((Field((self.dim,)), Field()), {"in_features": self.dim}, self.sizes, "1")


class OddTarget(_Hajjar2022):
    """Gaussian inputs with an odd cubic target.

        x ~ N(0, I/d),   y = C sum_k z_k x_k^3,   z ~ N(0, I/d),   C = sqrt(2 d^3 / 15) / ||z||

    so that E[y^2] / 2 = 1. The best linear predictor is w* . x with w* = sqrt(6 d / 5) z / ||z||, and its
    population loss E[(y - w* . x)^2] / 2 is 0.4 in every dimension. The direction z belongs to the seed.

    A batch is (x, y) of shapes (B, d) and (B,). An epoch counts `steps_per_epoch` batches of fresh samples.

    Source: K. Hajjar and L. Chizat, "Symmetries in the dynamics of wide two-layer neural networks", 2022,
    arXiv:2211.08771.
    """

    def __init__(
        self,
        dim: int = 20,
        batch_size: int = 512,
        steps_per_epoch: int = 100,
        val_size: int = 10_000,
        test_size: int = 10_000,
        seed: int = 0,
    ) -> None:
        super().__init__(dim, batch_size, steps_per_epoch, val_size, test_size, seed)
        self.save_hyperparameters()
        normal = torch.randn(dim, generator=generator(seed, "train", 0, 2**31), dtype=torch.float64)
        self.direction = normal / normal.norm()

    @property
    def best_linear(self) -> Tensor:
        """w*, of shape (d,)."""
        return (math.sqrt(1.2 * self.dim) * self.direction).float()

    def sample(self, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        x = torch.randn(size, self.dim, generator=generator, device=generator.device) / math.sqrt(self.dim)
        scale = math.sqrt(2 * self.dim**3 / 15)
        return x, x**3 @ (scale * self.direction).to(x)


class LowDimensionalTarget(_Hajjar2022):
    """Gaussian inputs whose target is the norm of a few of their coordinates.

        x ~ N(0, I_d),   y = ||x_H||,   x_H = the first d_H = `target_dim` coordinates of x

    so that E[y^2] = d_H: the loss of the zero function, mean(y^2) / 2, is d_H / 2 in every dimension d = `dim`.

    A batch is (x, y) of shapes (B, d) and (B,). An epoch counts `steps_per_epoch` batches of fresh samples.
    Raises ValueError for a size below 1 and for more target dimensions than dimensions.

    Source: K. Hajjar and L. Chizat, "Symmetries in the dynamics of wide two-layer neural networks", 2022,
    arXiv:2211.08771.
    """

    def __init__(
        self,
        dim: int = 20,
        target_dim: int = 5,
        batch_size: int = 256,
        steps_per_epoch: int = 100,
        val_size: int = 10_000,
        test_size: int = 10_000,
        seed: int = 0,
    ) -> None:
        super().__init__(dim, batch_size, steps_per_epoch, val_size, test_size, seed)
        if not 1 <= target_dim <= dim:
            raise ValueError(f"target_dim must be at least 1 and at most dim = {dim}, got {target_dim}")
        self.save_hyperparameters()
        self.target_dim = target_dim

    def sample(self, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        x = torch.randn(size, self.dim, generator=generator, device=generator.device)
        return x, x[:, : self.target_dim].norm(dim=1)


class AngularSamples(_Hajjar2022):
    """Uniform points of the sphere as the reduced dynamics of a LowDimensionalTarget see them, in pairs.

    Of a uniform point u = (cos(phi) v, sin(phi) v') with unit vectors v in R^{d_H} and v' in R^{d - d_H}, a neuron of
    the reduced dynamics sees z = (r cos(phi), s sin(phi)) with r = v_1 and s = v'_1, and its target is cos(phi) =
    ||u_H||. The laws are cos^2(phi) ~ Beta(d_H/2, (d - d_H)/2), r^2 ~ Beta(1/2, (d_H - 1)/2) and
    s^2 ~ Beta(1/2, (d - d_H - 1)/2), with signs that are fair coins. The second of a pair has the same phi and an r and
    an s of its own: the product of a function of each is an unbiased sample of the product of their means over (r, s).

    A batch is (z, z', cos(phi)) of shapes (B, 2), (B, 2) and (B,). An epoch counts `steps_per_epoch` batches of fresh
    samples. Raises ValueError for a size below 1 and for target dimensions that leave none across them.

    Source: K. Hajjar and L. Chizat, "Symmetries in the dynamics of wide two-layer neural networks", 2022,
    arXiv:2211.08771.
    """

    def __init__(
        self,
        dim: int = 20,
        target_dim: int = 5,
        batch_size: int = 256,
        steps_per_epoch: int = 100,
        val_size: int = 10_000,
        test_size: int = 10_000,
        seed: int = 0,
    ) -> None:
        super().__init__(dim, batch_size, steps_per_epoch, val_size, test_size, seed)
        if not 1 <= target_dim < dim:
            raise ValueError(f"target_dim must be at least 1 and less than dim = {dim}, got {target_dim}")
        self.save_hyperparameters()
        self.target_dim = target_dim

    @property
    def spec(self) -> Spec:
        fields = Field((2,)), Field((2,)), Field()
        return Spec(fields, {"dim": self.dim, "target_dim": self.target_dim}, self.sizes, "1")

    def sample(self, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        x = torch.randn(2, size, self.dim, generator=generator, device=generator.device)
        along, across = x[..., : self.target_dim], x[..., self.target_dim :]
        norms = torch.stack([along.norm(dim=-1), across.norm(dim=-1)], -1)
        rs = torch.stack([along[..., 0], across[..., 0]], -1) / norms  # independent of the norms
        cos_sin = norms[0] / norms[0].norm(dim=-1, keepdim=True)
        return rs[0] * cos_sin, rs[1] * cos_sin, cos_sin[:, 0]

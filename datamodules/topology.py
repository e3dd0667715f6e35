"""Maps that no flow of the plain space can be: the line turned around, and a ring around a disc."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from datamodules._arrays import StreamDataModule
from datamodules._spec import Field, Spec


class _Dupont2019(StreamDataModule):
    """Fresh points and their targets: sizes, their checks, the citation."""

    citation: ClassVar[str] = """\
@inproceedings{dupont2019augmented,
  author = {Emilien Dupont and Arnaud Doucet and Yee Whye Teh},
  title = {{Augmented Neural ODEs}},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2019},
  url = {https://arxiv.org/abs/1904.01681}
}"""
    dim: int

    def __init__(self, batch_size: int, steps_per_epoch: int, test_size: int, seed: int) -> None:
        super().__init__(batch_size, seed)
        for name, value in {"steps_per_epoch": steps_per_epoch, "test_size": test_size}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.sizes = {"train": steps_per_epoch, "val": test_size, "test": test_size}

    @property
    def spec(self) -> Spec:
        arguments = {"in_features": self.dim, "out_features": 1}
        return Spec((Field((self.dim,)), Field((1,))), arguments, self.sizes, "1")


class Reflection(_Dupont2019):
    """x uniform on [-1, 1] and y = -x. A batch is (x, y), both of shape (B, 1).

    The n points of a held-out split are the midpoints of n equal intervals. A map that keeps the order of points, as
    every flow on the line does, has there a mean squared error of at least mean(x^2) = (1 - 1 / n^2) / 3: the best
    monotone approximation of a falling function is its mean.

    Source: E. Dupont, A. Doucet and Y. W. Teh, "Augmented neural ODEs", NeurIPS 2019, arXiv:1904.01681, section 3.
    """

    dim = 1

    def __init__(
        self, batch_size: int = 128, steps_per_epoch: int = 100, test_size: int = 1_000, seed: int = 0
    ) -> None:
        super().__init__(batch_size, steps_per_epoch, test_size, seed)
        self.save_hyperparameters()

    def sample(self, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        x = 2 * torch.rand(size, 1, generator=generator, device=generator.device) - 1
        return x, -x

    def raw(self, split: str) -> tuple[Tensor, ...]:
        n = self.sizes[split]
        x = ((2 * torch.arange(n) + 1 - n) / n)[:, None]
        return x, -x


class Rings(_Dupont2019):
    """Points of a disc of radius 1/2, with y = -1, and of the ring between radii 1 and 3/2, with y = 1, in the plane.

    Each with equal odds, uniform in area. A batch is (x, y) of shapes (B, 2) and (B, 1).

    Source: E. Dupont, A. Doucet and Y. W. Teh, "Augmented neural ODEs", NeurIPS 2019, arXiv:1904.01681, section 3, for
    d = 2 and radii 1/2, 1 and 3/2.
    """

    dim = 2

    def __init__(
        self, batch_size: int = 128, steps_per_epoch: int = 100, test_size: int = 2_000, seed: int = 0
    ) -> None:
        super().__init__(batch_size, steps_per_epoch, test_size, seed)
        self.save_hyperparameters()

    def sample(self, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        draw: dict[str, Any] = {"generator": generator, "device": generator.device}
        outer = torch.randint(2, (size, 1), **draw)
        low, high = outer * 1.0, torch.where(outer == 1, 1.5, 0.5)
        radius = (low**2 + (high**2 - low**2) * torch.rand(size, 1, **draw)).sqrt()
        angle = 2 * torch.pi * torch.rand(size, 1, **draw)
        return radius * torch.cat([angle.cos(), angle.sin()], 1), 2.0 * outer - 1

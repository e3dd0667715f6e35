"""What is measured of a learned density in the plane beside the density that the data are drawn from."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

PATHS = 200  # points of the base that are followed, for the figure
TIMES = 21  # moments at which they are seen


class KnownDensity(pl.Callback):
    """Compares a model that has `log_prob`, `sample` and `paths` with data that have `log_density`, in the plane.

    At the end of the test it logs, in nats over the test split,

        test/floor          mean of -log p*(x), p* the data's density: what no model can be below but by chance
        test/gap            mean of log p*(x) - log p(x): an unbiased estimate of KL(p* || p)
        test/gaussian_gap   the same of the Gaussian with the test split's own mean and covariance, its best fit
        test/gain           how much better the model is than that Gaussian
        test/mass           the integral of p over [-`half`, half]^2, by midpoints of `grid` by grid squares
        test/misplaced      the share of as many samples of the model at which p* is below that of all test points

    and records log p and log p* on the grid (`log_density`, `true_log_density`), samples (`samples`), test points
    (`points`) and the paths of 200 points of the base at 21 moments (`paths`). A grid of less than 2 squares is refused
    by a ValueError, as are data of another dimension than 2 or of an unknown density.
    """

    per_replica = True

    def __init__(self, grid: int = 100, half: float = 5.0) -> None:
        if grid < 2:
            raise ValueError(f"grid must be at least 2, got {grid}")
        if not half > 0:
            raise ValueError(f"half must be positive, got {half}")
        self.grid, self.half = grid, half

    def refusal(self, model: pl.LightningModule, data: pl.LightningDataModule) -> str:
        """Why this model and data cannot be compared; nothing where they can."""
        if not hasattr(data, "log_density") or getattr(data, "dim", 0) != 2:
            return f"the density has to be a known one in the plane, and that of {type(data).__name__} is not"
        return "" if hasattr(model, "log_prob") else f"{type(model).__name__} has no log_prob"

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        (x,) = data.held_out("test")
        x = x.to(pl_module.dtype)
        samples = pl_module.sample(len(x), torch.Generator(x.device).manual_seed(data.seed))
        for name, value in self._scalars(pl_module, data, x, samples).items():
            pl_module.log(f"test/{name}", value.float())
        pl_module.record("samples", samples)
        pl_module.record("points", x)
        pl_module.record("paths", self._paths(pl_module, data.seed))

    def _scalars(self, module: Any, data: Any, x: Tensor, samples: Tensor) -> dict[str, Tensor]:
        true, learned = data.log_density(x), module.log_prob(x).double()
        points = self._grid(x)
        mapped = torch.cat([module.log_prob(part) for part in points.split(5_000)]).double()
        width = 2 * self.half / self.grid
        module.record("log_density", mapped.reshape(self.grid, self.grid).float())
        module.record("true_log_density", data.log_density(points).reshape(self.grid, self.grid).float())
        return {
            "floor": -true.mean(),
            "gap": (true - learned).mean(),
            "gaussian_gap": true.mean() + gaussian_nll(x),
            "gain": gaussian_nll(x) + learned.mean(),
            "mass": mapped.exp().sum() * width**2,
            "misplaced": (data.log_density(samples) < true.min()).double().mean(),
        }

    def _grid(self, like: Tensor) -> Tensor:
        """The midpoints of the squares, (grid^2, 2); the first coordinate varies last."""
        width = 2 * self.half / self.grid
        u = -self.half + width * (torch.arange(self.grid, dtype=like.dtype, device=like.device) + 0.5)
        return torch.cartesian_prod(u, u)

    def _paths(self, module: Any, seed: int) -> Tensor:
        generator = torch.Generator(module.device).manual_seed(seed + 1)
        z = torch.randn(PATHS, 2, generator=generator, dtype=module.dtype, device=module.device)
        return module.paths(z, [module.time * k / (TIMES - 1) for k in range(TIMES)])


def gaussian_nll(x: Tensor) -> Tensor:
    """The least mean of -log N(x; m, C) over all Gaussians, (log det C + d log 2 pi + d) / 2, C the covariance of x."""
    covariance = torch.cov(x.double().T, correction=0).reshape(x.shape[1], -1)
    return (torch.logdet(covariance) + x.shape[1] * (math.log(2 * math.pi) + 1)) / 2

"""How far what a model of paths generates is from the law of its data."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

SHOWN = 32  # paths that are recorded


class GeneratedPaths(pl.Callback):
    """Compares paths of a model's prior with test paths, and its posterior's with those that they stand for.

        test/energy              energy distance of whole paths, as points with T C coordinates
        test/energy_floor        that of the validation paths, which have the law of the test
        test/energy_gaussian     that of a Gaussian process with mean and covariance of the validation paths
        test/marginal            mean over the times of the energy distance of the points at one time
        test/marginal_floor, test/marginal_gaussian, the same of both
        test/reconstruction      root mean squared difference of `forward` of what was seen to the truth
        test/over_gaussian       the ELBO less the log-density of the test series under a Gaussian process with mean and
                                 covariance of the training series, whose likelihood is exact: nats a series. It has
                                 T C (T C + 3) / 2 numbers, so that few series fit it badly: with more its density rises

        energy distance   2 E|x - y| - E|x - x'| - E|y - y'|, |.| the root mean square over coordinates

    of as many paths on either side; it is 0 for equal laws and infinitely many paths alone. All paths are without
    observation noise. Records the first of `truth`, of `generated`, of a Gaussian process (`gaussian`), and of
    `reconstructed`, (N, T, C). For models that `generate`, and data modules with a `truth` whose series
    are observed everywhere.
    """

    per_replica = True

    def refusal(self, model: pl.LightningModule, data: Any) -> str:
        """Why there is nothing to compare; nothing where there is."""
        if not hasattr(model, "generate"):
            return f"{type(model).__name__} generates no paths"
        return "" if hasattr(data, "truth") else f"{type(data).__name__} does not know its truth"

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        values, mask, times, normals = data.tensors("test")
        truth, other = data.truth("test").to(values), data.truth("val").to(values)
        draw = torch.Generator(values.device).manual_seed(0)
        sets = {"": pl_module.generate(times, normals), "_floor": other, "_gaussian": gaussian(other, len(truth), draw)}
        for name, paths in sets.items():
            pl_module.log(f"test/energy{name}", energy(paths.flatten(1), truth.flatten(1)))
            at_times = [energy(x, y) for x, y in zip(paths.unbind(1), truth.unbind(1), strict=True)]
            pl_module.log(f"test/marginal{name}", torch.stack(at_times).mean())
        log_likelihood, kl = pl_module.bound((values, mask, times, normals))
        control = log_density(values, data.tensors("train")[0])
        pl_module.log("test/over_gaussian", (log_likelihood - kl).mean() - control.mean())
        found = pl_module(values, mask, times)
        pl_module.log("test/reconstruction", (found - truth).square().mean().sqrt())
        arrays = {"truth": truth, "generated": sets[""], "gaussian": sets["_gaussian"], "reconstructed": found}
        for name, array in arrays.items():
            pl_module.record(name, array[:SHOWN])


def energy(x: Tensor, y: Tensor) -> Tensor:
    """The energy distance of points (…, N, d) and (…, M, d), with pairs of a point and itself: (…)."""

    def apart(a: Tensor, b: Tensor) -> Tensor:
        return torch.cdist(a, b).mean((-2, -1)) / a.shape[-1] ** 0.5

    return 2 * apart(x, y) - apart(x, x) - apart(y, y)


def log_density(values: Tensor, given: Tensor) -> Tensor:
    """log p of series (N, T, C), (N,), under a Gaussian process with mean and covariance of those given."""
    flat = given.flatten(1).double()  # in single precision the covariance may not be positive
    found: Tensor = MultivariateNormal(flat.mean(0), flat.T.cov()).log_prob(values.flatten(1).double())
    return found.to(values.dtype)


def gaussian(paths: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Paths of a Gaussian process, as many as `count`, with mean and covariance of those given, (N, T, C)."""
    flat = paths.flatten(1)
    mean = flat.mean(0)
    weights = torch.randn(count, len(flat), generator=generator, device=flat.device, dtype=flat.dtype)
    drawn = mean + weights @ (flat - mean) / (len(flat) - 1) ** 0.5
    return drawn.unflatten(1, paths.shape[1:])

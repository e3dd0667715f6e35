"""How near the law of generated paths is to that of the process that they are to follow."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from benchmarks.observables.stochastic.two_samples import (
    autocorrelation,
    classified,
    kolmogorov_smirnov,
    quadratic,
    transport,
)

PROBES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the interval
LAGS = (1, 4, 12)
SHOWN = 1024  # paths that are recorded


class PathLaws(pl.Callback):
    """Compares paths of a model with test paths, and with what is known of the process in closed form.

        test/marginal          mean Wasserstein-1 distance of the values at five times, in deviations of the process
        test/distribution      mean over these times of the largest difference of the distribution functions
                               (Kolmogorov and Smirnov)
        test/mean              mean over all times of |mean - m| in deviations of the process
        test/deviation         mean over all times of |log(deviation / v^(1/2))|
        test/autocorrelation   the largest difference of the autocorrelations at three lags
        test/accuracy, test/area   of a classifier of the values at five times and their products of two, see
                               `classified`: 0.5 where the laws cannot be told apart

    and each again with `_floor` after its name for validation paths, which have the law of the test. Records the first
    of `paths` and of those `made`, and `moments`, m and v at all times. For models whose paths come from `noise`, and
    data modules of one channel that know the `mean` and the `variance` of their process, at more times than the
    longest lag. Raises FloatingPointError for paths that are not finite.
    """

    per_replica = True

    def refusal(self, model: pl.LightningModule, data: Any) -> str:
        """Why there is nothing to compare; nothing where there is."""
        if not hasattr(model, "critic"):
            return f"{type(model).__name__} generates no paths from noise"
        if not hasattr(data, "variance"):
            return f"{type(data).__name__} does not know the moments of its process"
        if (length := len(data.variance())) <= max(LAGS):
            return (
                f"paths of length {length} have no autocorrelation at lag {max(LAGS)}: give the data a greater length"
            )
        if data.spec.sizes["val"] != data.spec.sizes["test"]:
            return "validation and test paths, which are compared as well, must be of one number"
        return ""

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        paths, *noise = data.tensors("test")
        mean, variance = (moment().to(paths) for moment in (data.mean, data.variance))
        made, other = pl_module(*noise), data.tensors("val")[0]
        if broken := int((~made.isfinite()).flatten(1).any(1).sum()):
            raise FloatingPointError(f"{broken} of {len(made)} paths of {type(pl_module).__name__} are not finite")
        for suffix, compared in (("", made), ("_floor", other)):
            for name, value in distances(compared[..., 0], paths[..., 0], mean, variance).items():
                pl_module.log(f"test/{name}{suffix}", value)
        for name, array in {"paths": paths[:SHOWN], "made": made[:SHOWN]}.items():
            pl_module.record(name, array[..., 0])
        pl_module.record("moments", torch.stack([mean, variance]))


def distances(made: Tensor, paths: Tensor, mean: Tensor, variance: Tensor) -> dict[str, Tensor]:
    """The measures above of made paths and true ones, (N, T) each, of a process of this mean and variance, (T,)."""
    deviation = variance.sqrt()
    probes = [round(part * (paths.shape[1] - 1)) for part in PROBES]
    unit = deviation[probes]
    accuracy, area = classified(*(quadratic(x[:, probes], mean[probes], unit) for x in (paths, made)))
    return {
        "marginal": (transport(made[:, probes], paths[:, probes]) / unit).mean(),
        "distribution": kolmogorov_smirnov(made[:, probes], paths[:, probes]).mean(),
        "mean": ((made.mean(0) - mean).abs() / deviation).mean(),
        "deviation": (made.std(0) / deviation).log().abs().mean(),
        "autocorrelation": (autocorrelation(made, LAGS) - autocorrelation(paths, LAGS)).abs().max(),
        "accuracy": torch.tensor(accuracy),
        "area": torch.tensor(area),
    }

"""Where the paths of a posterior process go, and how near they come to the posterior where that is known."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from zoo.stochastic import PosteriorSDE

QUANTILES = (0.025, 0.25, 0.5, 0.75, 0.975)
DRAWN = 5  # paths that are recorded


class PosteriorPaths(pl.Callback):
    """Draws a path of the posterior for each test row, of one series in one channel.

        test/seen_error       root mean square, over the observations, of how far the mean path is from them
        test/seen_spread      deviation of the paths, at the observations on average
        test/widest_spread    the largest deviation between the first observation and the last
        test/end_mean         mean of the paths at the last time
        test/end_spread       their deviation there
        test/relaxation       their regression at the last time on the last observation's: its slope
        test/end_noise        their deviation around that regression

    and records `times`, `values`, `mask`, `quantiles` (of the posterior, Q and T), `paths`, and `prior_quantiles`. For
    a `PosteriorSDE` of one channel.
    """

    per_replica = True

    def refusal(self, model: pl.LightningModule, data: Any) -> str:
        """Why there are no paths; nothing where there are."""
        return "" if isinstance(model, PosteriorSDE) else f"{type(model).__name__} has no posterior of one series"

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        values, mask, times, normals = data.held_out("test")
        paths = pl_module.drawn(times, normals)[0][..., 0]
        seen = mask[0, :, 0]
        for name, value in spreads(paths, values[0, :, 0], seen).items():
            pl_module.log(f"test/{name}", value)
        prior = pl_module.generate(times, normals)[..., 0]
        levels = paths.new_tensor(QUANTILES)
        arrays = {"times": times[0], "values": values[0, :, 0], "mask": seen, "paths": paths[:DRAWN]}
        found = {"quantiles": paths.quantile(levels, 0), "prior_quantiles": prior.quantile(levels, 0)}
        for name, array in {**arrays, **found}.items():
            pl_module.record(name, array)


class Evidence(pl.Callback):
    """Compares a posterior process under normal noise with the posterior, which is Gaussian, of the same steps.

        test/evidence          log p(x), of the prior's steps as they are taken
        test/gap               how far the bound is below it: KL of the posterior process to the posterior
        test/floor             the least gap of any drift: the posterior's steps have a smaller variance v_k than the
                               process's s_k = sigma^2 dt_k, sum_k (s_k / v_k - 1 - log(s_k / v_k)) / 2
        test/mean_error        root mean square, over times, of the mean's error in deviations of the posterior
        test/deviation_error   the same of the deviation's relative error

    and records `exact_mean` and `exact_deviation` at all times. For a `PosteriorSDE` of one channel with a normal
    likelihood.
    """

    per_replica = True

    def refusal(self, model: pl.LightningModule, data: Any) -> str:
        """Why the posterior is not known; nothing where it is."""
        known = isinstance(model, PosteriorSDE) and model.likelihood == "normal"
        return "" if known else f"{type(model).__name__} has no posterior that is known in closed form"

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        batch = values, mask, times, normals = data.held_out("test")
        log_likelihood, kl = pl_module.bound(batch)
        paths = pl_module.drawn(times, normals)[0][..., 0].double()
        seen = mask[0, :, 0]
        covariance = chain(pl_module.theta, pl_module.sigma, times[0].double())
        known = values[0, seen, 0].double() - pl_module.mu
        evidence, mean, posterior = conditioned(covariance, seen, known, pl_module.scale)
        deviation = posterior.diagonal().sqrt()
        found = {
            "evidence": evidence,
            "floor": floor(posterior, pl_module.sigma, times[0].double()),
            "gap": evidence - (log_likelihood - kl).mean(),
            "mean_error": ((paths.mean(0) - pl_module.mu - mean) / deviation).square().mean().sqrt(),
            "deviation_error": (paths.std(0) / deviation - 1).square().mean().sqrt(),
        }
        for name, value in found.items():
            pl_module.log(f"test/{name}", value.float())
        pl_module.record("exact_mean", mean + pl_module.mu)
        pl_module.record("exact_deviation", deviation)


def spreads(paths: Tensor, values: Tensor, seen: Tensor) -> dict[str, Tensor]:
    """The numbers above of paths (N, T), and values and a mask of what was seen, (T,) each."""
    mean, spread = paths.mean(0), paths.std(0)
    first, last = (int(k) for k in seen.nonzero()[[0, -1], 0])
    before, end = paths[:, last] - mean[last], paths[:, -1] - mean[-1]
    slope = (before * end).sum() / before.square().sum()
    return {
        "seen_error": (mean - values)[seen].square().mean().sqrt(),
        "seen_spread": spread[seen].mean(),
        "widest_spread": spread[first : last + 1].max(),
        "end_mean": mean[-1],
        "end_spread": spread[-1],
        "relaxation": slope,
        "end_noise": (end - slope * before).std(),
    }


def chain(theta: float, sigma: float, times: Tensor) -> Tensor:
    """Covariance (T, T) of y_{k+1} = (1 - theta dt_k) y_k + sigma dt_k^(1/2) xi_k, Var y_0 = sigma^2 / (2 theta)."""
    covariance = torch.zeros(len(times), len(times), dtype=times.dtype, device=times.device)
    covariance[0, 0] = sigma**2 / (2 * theta)
    for k, gap in enumerate(times.diff()):
        past = (1 - theta * gap) * covariance[k, : k + 1]
        covariance[k + 1, : k + 1] = covariance[: k + 1, k + 1] = past
        covariance[k + 1, k + 1] = (1 - theta * gap) * past[k] + sigma**2 * gap
    return covariance


def conditioned(covariance: Tensor, seen: Tensor, values: Tensor, noise: float) -> tuple[Tensor, Tensor, Tensor]:
    """log p of values (K,) seen with normal noise, and mean (T,) and covariance of a centred process given them."""
    across = covariance[:, seen]
    known = across[seen] + noise**2 * torch.eye(len(values), dtype=values.dtype, device=values.device)
    gain = torch.linalg.solve(known, across, left=False)
    evidence = MultivariateNormal(torch.zeros_like(values), known).log_prob(values)
    return evidence, gain @ values, covariance - gain @ across.T


def floor(posterior: Tensor, sigma: float, times: Tensor) -> Tensor:
    """The divergence from a posterior, of covariance (T, T), of the nearest process with steps of variance sigma^2 dt.

    Given y_k a step of the posterior, which is Markov, has a variance that does not depend on y_k.
    """
    across, variance = posterior.diagonal(1), posterior.diagonal()
    ratio = sigma**2 * times.diff() / (variance[1:] - across.square() / variance[:-1])
    return (ratio - 1 - ratio.log()).sum() / 2

"""What models with a posterior process share: paths beside a prior, its divergence, and how much that weighs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from zoo._checks import at_least
from zoo._solvers import SDE, integrate_sde

#: A drift (N, D) between the k-th time and the next, of k and the state (N, D) at the k-th.
Drift = Callable[[int, Tensor], Tensor]


def paths(
    start: Tensor,
    times: Tensor,
    normals: Tensor,
    drift: Drift,
    diffusion: Callable[[Tensor], Tensor],
    prior: Drift | None = None,
) -> tuple[Tensor, Tensor]:
    """Paths (N, T, D) of dz = f dt + g(z) dW at times (N, T), z(t_0) = start, and their divergence from a prior, (N,).

        z_{k+1} = z_k + f(k, z_k) dt_k + g(z_k) dt_k^(1/2) xi_k,   sum_k |(f - h) / g|^2 dt_k / 2

    It is Euler's method over the index of the times, a step between any two, so that series with times of their own are
    solved together. The steps xi are `normals` (N, T - 1, D). For these steps the sum's mean is the divergence of
    the paths exactly, not only for short ones: both have normal transitions, which differ in their means alone. Without
    a prior it is 0.
    """
    gaps = times.diff(dim=1)[..., None]

    def paced(rate: Drift) -> Callable[[float, Tensor], Tensor]:
        return lambda s, z: rate(int(s), z) * gaps[:, int(s)]

    sde = SDE(paced(drift), lambda s, z: diffusion(z) * gaps[:, int(s)].sqrt())
    beside = None if prior is None else paced(prior)
    solution = integrate_sde(sde, start, range(times.shape[1]), noise=normals.transpose(0, 1), prior=beside)
    divergence = torch.zeros_like(start[:, 0]) if solution.divergence is None else solution.divergence[-1]
    return solution.states.transpose(0, 1), divergence


def refuse_shapes(times: Tensor, normals: Tensor, features: int) -> None:
    """Raises ValueError where times are not (N, T), or standard normal numbers not (N, T, features)."""
    if times.ndim != 2 or normals.shape != (*times.shape, features):
        raise ValueError(
            f"expected times of shape (N, T) and normals of shape (N, T, {features}), got {tuple(times.shape)} and "
            f"{tuple(normals.shape)}"
        )


def normal_divergence(q: tuple[Tensor, Tensor], p: tuple[Tensor, Tensor]) -> Tensor:
    """KL(q || p) of normals with independent components, (N,), of their means and log-variances, (N, D) or (D,)."""
    (mean, log_variance), (prior_mean, prior_log_variance) = q, p
    ratio = log_variance - prior_log_variance
    error = (mean - prior_mean).square() * (-prior_log_variance).exp()
    return (ratio.exp() + error - 1 - ratio).sum(-1) / 2


class Annealing(nn.Module):
    """The weight of a divergence in the loss: n / steps in the n-th training batch, then 1; in evaluation 1."""

    taken: Tensor

    def __init__(self, steps: int) -> None:
        super().__init__()
        at_least(0, warm_up=steps)
        self.steps = steps
        # an integer: bfloat16 counts to 256 and no further
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))

    def forward(self) -> Tensor:
        if not self.training:
            return torch.ones((), device=self.taken.device)
        self.taken.add_(1)  # in place: in a stack of models each has its own
        return (self.taken / max(self.steps, 1)).clamp(max=1)


def scores(log_likelihood: Tensor, kl: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """What a step returns of both parts of the bound, (N,) each, and of the divergence's weight."""
    log_likelihood, kl = log_likelihood.mean(), kl.mean()
    loss = weight.to(kl) * kl - log_likelihood
    return {"loss": loss, "elbo": log_likelihood - kl, "log_likelihood": log_likelihood, "kl": kl}

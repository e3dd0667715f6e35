"""PosteriorSDE: the process that an Ornstein-Uhlenbeck process becomes when one series of it has been seen."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo._checks import at_least, number, one_of, positive
from zoo._irregular import completed, refuse_order
from zoo._module import ZooModule
from zoo.stochastic._variational import Annealing, normal_divergence, paths, refuse_shapes, scores

LIKELIHOODS = ("laplace", "normal")


class PosteriorSDE(ZooModule):
    """A posterior process for one series, with an Ornstein-Uhlenbeck process as its prior, in each channel.

        prior       y(0) ~ N(mu, sigma^2 / (2 theta)),   dy = theta (mu - y) dt + sigma dW
        posterior   y(0) ~ N(m, s^2),                    dy = f(sin t, cos t, y) dt + sigma dW
        x_k = y(t_k) + noise of the given scale, Laplace or normal (its deviation)

        log p(x) >= E_q log p(x | y) - KL(q(y(0)) || p(y(0))) - E_q 1/2 int |(f - theta (mu - y)) / sigma|^2 dt   (ELBO)

    f is a network whose last layer starts at zero, m and s start at the prior's. Nothing else is learned: there is no
    encoder, and another series needs another model. Both equations are solved by Euler's method with a step between any
    two times, of which most may be ones at which nothing was observed. The divergence weighs n / `warm_up` in the loss
    of the n-th training batch, and 1 from then on.

    `forward` maps times (N, T), each row starting at 0, to the posterior path (N, T, C) that begins at m and has no
    noise; where f is linear in y it is the posterior's mean. `drawn` and `generate` make paths of posterior and prior.
    A batch is (values, mask, times, normals): N times the one series, (N, T, C), (N, T, C) and (N, T), and standard
    normal numbers (N, T, C), the first of them for y(0), by which each row draws a path of its own. Logged beside the
    loss are `elbo`, `log_likelihood` and `kl`, in nats. Trained by Adam. Raises ValueError for a size below 1, a
    warm_up below 0, a scale, theta, sigma or lr that is not positive, and another likelihood.

    Source: X. Li, T.-K. L. Wong, R. T. Q. Chen and D. Duvenaud, "Scalable gradients for stochastic differential
    equations", AISTATS 2020, arXiv:2001.01328, in the form of torchsde's example on synthetic series. Deliberate
    differences: a narrower network; differentiated step by step, where the paper has an adjoint; the normal likelihood.
    """

    vectorizes = True
    tiny: ClassVar[dict[str, Any]] = {"hidden_features": 8}

    def __init__(
        self,
        in_channels: int,
        scale: float,
        likelihood: str = "laplace",
        theta: float = 1.0,
        mu: float = 0.0,
        sigma: float = 0.5,
        hidden_features: int = 64,
        warm_up: int = 100,
        lr: float = 1e-2,
    ) -> None:
        super().__init__()
        at_least(1, in_channels=in_channels, hidden_features=hidden_features)
        positive(scale=scale, theta=theta, sigma=sigma, lr=lr)
        number(mu=mu)
        one_of(LIKELIHOODS, likelihood=likelihood)
        self.save_hyperparameters()
        self.scale, self.likelihood, self.lr = scale, likelihood, lr
        self.theta, self.mu, self.sigma = theta, mu, sigma
        self.log_variance_0 = math.log(sigma**2 / (2 * theta))
        last = nn.Linear(hidden_features, in_channels)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.field = nn.Sequential(
            *(nn.Linear(2 + in_channels, hidden_features), nn.Tanh()),
            *(nn.Linear(hidden_features, hidden_features), nn.Tanh(), last),
        )
        self.mean = nn.Parameter(torch.full((in_channels,), float(mu)))
        self.log_variance = nn.Parameter(torch.full((in_channels,), self.log_variance_0))
        self.annealing = Annealing(warm_up)

    def forward(self, times: Tensor) -> Tensor:
        y, _ = self.drawn(times, torch.zeros_like(times)[..., None].expand(-1, -1, len(self.mean)))
        return y

    def drawn(self, times: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior paths (N, T, C), and the divergence of the posterior from the prior along each, (N,)."""
        refuse_shapes(times, normals, len(self.mean))
        clock = torch.stack([times.sin(), times.cos()], -1)

        def drift(k: int, y: Tensor) -> Tensor:
            out: Tensor = self.field(torch.cat([clock[:, k], y], -1))
            return out

        y0 = self.mean + (self.log_variance / 2).exp() * normals[:, 0]
        y, divergence = paths(y0, times, normals[:, 1:], drift, self.diffusion, self.prior)
        p = torch.full_like(self.mean, self.mu), torch.full_like(self.mean, self.log_variance_0)
        return y, normal_divergence((self.mean, self.log_variance), p) + divergence

    def generate(self, times: Tensor, normals: Tensor) -> Tensor:
        """Paths (N, T, C) of the prior at times (N, T), of normals (N, T, C).

        Raises ValueError for other shapes, and for times that do not increase.
        """
        refuse_shapes(times, normals, len(self.mean))
        refuse_order(times)
        y0 = self.mu + math.exp(self.log_variance_0 / 2) * normals[:, 0]
        return paths(y0, times, normals[:, 1:], self.prior, self.diffusion)[0]

    def prior(self, _: int, y: Tensor) -> Tensor:
        return self.theta * (self.mu - y)

    def diffusion(self, y: Tensor) -> Tensor:
        return torch.full_like(y, self.sigma)

    def bound(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """log p(x | y) of a path y that is drawn from q, and the divergence along it, (N,) each."""
        values, mask, times, normals = batch
        y, kl = self.drawn(times, normals)
        error = (torch.where(mask, values, 0.0) - y) / self.scale
        if self.likelihood == "laplace":
            log_density = -error.abs() - math.log(2 * self.scale)
        else:
            log_density = -(error.square() + math.log(2 * math.pi * self.scale**2)) / 2
        return torch.where(mask, log_density, 0.0).sum((1, 2)), kl

    def inputs(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (batch[2],)

    def complete(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        """Times of one series (T,) or of several (N, T); refused where they do not increase from 0."""
        if "times" not in given:
            return given
        times = given["times"]
        times = times[None] if times.ndim == 1 else times
        times = completed({"values": times[..., None], "times": times}, self.mean.dtype, 1)["times"]
        if bool((late := times[:, 0] != 0).any()):
            series = int(late.nonzero()[0])
            raise ValueError(
                f"expected times that start at 0, where q(y(0)) is: in series {series}, times[0] is "
                f"{times[series, 0]:g}; put a 0 before it"
            )
        return {"times": times}

    def step(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        return scores(*self.bound(batch), self.annealing())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)

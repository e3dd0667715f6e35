"""LatentSDE: a generative model of series, whose hidden state follows a stochastic differential equation."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import at_least, positive
from zoo._irregular import completed, refuse_order
from zoo._module import ZooModule
from zoo.differential.latent_ode import GatedUnit
from zoo.stochastic._variational import Annealing, normal_divergence, paths, refuse_shapes, scores


class ContextEncoder(nn.Module):
    """What a series holds from each of its times on, (N, T, context): a GRU that reads it from its end backward.

    It is fed the values, their mask and the time until the next.
    """

    def __init__(self, channels: int, hidden: int, context: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.unit = GatedUnit(2 * channels + 1, hidden)
        self.head = nn.Linear(hidden, context)

    def forward(self, values: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        until_next = F.pad(times.diff(dim=1), (0, 1))[..., None]
        x = torch.cat([torch.where(mask, values, 0.0), mask.to(values), until_next], -1)
        h, states = torch.zeros_like(x[:, 0, :1]).expand(-1, self.hidden), []
        for k in reversed(range(x.shape[1])):
            h = self.unit(x[:, k], h)
            states.append(h)
        context: Tensor = self.head(torch.stack(states[::-1], 1))
        return context


class ElementwiseDiffusion(nn.Module):
    """g_i(z_i) in (0, 1), by a small network for each component: g_i = sigmoid(c_i . tanh(a_i z_i + b_i) + d_i)."""

    def __init__(self, latent: int, hidden: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.empty(latent, hidden).uniform_(-1, 1))
        self.shift = nn.Parameter(torch.empty(latent, hidden).uniform_(-1, 1))
        self.readout = nn.Parameter(torch.empty(latent, hidden).uniform_(-1, 1) / math.sqrt(hidden))
        self.offset = nn.Parameter(torch.zeros(latent))

    def forward(self, z: Tensor) -> Tensor:
        hidden = (z[..., None] * self.slope + self.shift).tanh()
        return ((hidden * self.readout).sum(-1) + self.offset).sigmoid()


def rate(in_features: int, hidden: int, latent: int) -> nn.Sequential:
    """A drift's network."""
    return nn.Sequential(
        *(nn.Linear(in_features, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()),
        nn.Linear(hidden, latent),
    )


class LatentSDE(ZooModule):
    """A variational autoencoder of series: a latent state that follows a stochastic equation, seen through a decoder.

        prior       z(t_0) ~ p,          dz = h(z) dt + g(z) dW
        posterior   z(t_0) ~ q(. | x),   dz = f(z, c) dt + g(z) dW
        x_k ~ N(A z(t_k) + a, noise^2)

        log p(x) >= E_q log p(x | z) - KL(q(z(t_0) | x) || p) - E_q 1/2 int |(f - h) / g|^2 dt        (ELBO)

    p and q are normal with independent components, and c, between two times, is what a GRU that reads the series
    backward in time knows from the later one on. g is diagonal, each entry a function of its own component, in (0, 1).
    The likelihood is that of the observed values alone, each with the known deviation `noise`. Both equations are
    solved by Euler's method with a step between any two times; to refine it, train with more times, at which nothing
    was observed. The divergence weighs n / `warm_up` in the loss of the n-th training batch, and 1 from then on.

    `forward` maps values (N, T, C), mask (N, T, C) and times (N, T) to the series (N, T, C) of the posterior path that
    begins at q's mean and has no noise; where f is linear in z it is the posterior's mean. `generate` makes new series,
    of the prior. `predict(values, times=times)` takes NaN for what was not observed. Of values that the mask leaves out
    nothing depends, nor of a shift in time. A batch is (values, mask, times, normals), standard normal numbers
    (N, T, latent_features), the first of them for z(t_0), by which one path is drawn for each series. Logged beside the
    loss are `elbo`, `log_likelihood` and `kl`, in nats a series. Trained by Adam. Raises ValueError for a size below 1,
    a warm_up below 0, and a noise or lr that is not positive.

    Source: X. Li, T.-K. L. Wong, R. T. Q. Chen and D. Duvenaud, "Scalable gradients for stochastic differential
    equations", AISTATS 2020, arXiv:2001.01328, in the form of torchsde's Lorenz example. Deliberate differences:
    smaller networks, those of g a quarter as wide as the others; SiLU, and tanh in g, in place of softplus, which takes
    longer than all else; differentiated step by step, where the paper has an adjoint; the encoder is told mask and
    gaps.
    """

    vectorizes = True
    tiny: ClassVar[dict[str, Any]] = {"hidden_features": 8, "context_features": 4}

    def __init__(
        self,
        in_channels: int,
        noise: float,
        latent_features: int = 4,
        context_features: int = 16,
        hidden_features: int = 64,
        warm_up: int = 360,
        lr: float = 1e-2,
    ) -> None:
        super().__init__()
        at_least(1, in_channels=in_channels, latent_features=latent_features, context_features=context_features)
        at_least(1, hidden_features=hidden_features)
        positive(noise=noise, lr=lr)
        self.save_hyperparameters()
        self.noise, self.lr = noise, lr
        latent, hidden = latent_features, hidden_features
        self.encoder = ContextEncoder(in_channels, hidden, context_features)
        self.start = nn.Linear(context_features, 2 * latent)
        self.posterior = rate(latent + context_features, hidden, latent)
        self.prior = rate(latent, hidden, latent)
        self.diffusion = ElementwiseDiffusion(latent, max(hidden // 4, 1))
        self.prior_mean = nn.Parameter(torch.zeros(latent))
        self.prior_log_variance = nn.Parameter(torch.zeros(latent))
        self.decoder = nn.Linear(latent, in_channels)
        self.annealing = Annealing(warm_up)

    def forward(self, values: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        series, _ = self.drawn(values, mask, times, self._still(times))
        return series

    def drawn(self, values: Tensor, mask: Tensor, times: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
        """Series (N, T, C) of posterior paths, and the divergence of the posterior from the prior along each, (N,)."""
        refuse_shapes(times, normals, len(self.prior_mean))
        context = self.encoder(values, mask, times).unbind(1)  # an index would have a gradient as large as the whole
        q = mean, log_variance = self.start(context[0]).chunk(2, -1)
        z0 = mean + (log_variance / 2).exp() * normals[:, 0]

        def drift(k: int, z: Tensor) -> Tensor:
            out: Tensor = self.posterior(torch.cat([z, context[k + 1]], -1))
            return out

        z, divergence = paths(z0, times, normals[:, 1:], drift, self.diffusion, lambda _, z: self.prior(z))
        return self.decoder(z), normal_divergence(q, (self.prior_mean, self.prior_log_variance)) + divergence

    def generate(self, times: Tensor, normals: Tensor) -> Tensor:
        """Series (N, T, C) of the prior at times (N, T), without observation noise, of normals (N, T, latent).

        Raises ValueError for other shapes, and for times that do not increase.
        """
        refuse_shapes(times, normals, len(self.prior_mean))
        refuse_order(times)
        z0 = self.prior_mean + (self.prior_log_variance / 2).exp() * normals[:, 0]
        z, _ = paths(z0, times, normals[:, 1:], lambda _, z: self.prior(z), self.diffusion)
        out: Tensor = self.decoder(z)
        return out

    def bound(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """log p(x | z) of a path z that is drawn from q, and the divergence along it, (N,) each."""
        values, mask, times, normals = batch
        found, kl = self.drawn(values, mask, times, normals)
        error = (torch.where(mask, values, 0.0) - found) / self.noise
        log_density = -(error.square() + math.log(2 * math.pi * self.noise**2)) / 2
        return torch.where(mask, log_density, 0.0).sum((1, 2)), kl

    def inputs(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return batch[:3]

    def complete(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        return completed(given, self.prior_mean.dtype, self.hparams["in_channels"])

    def step(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        return scores(*self.bound(batch), self.annealing())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)

    def _still(self, times: Tensor) -> Tensor:
        """No noise, (N, T, latent)."""
        return torch.zeros_like(times)[..., None].expand(-1, -1, len(self.prior_mean))

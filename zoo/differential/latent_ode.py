"""LatentODE: a generative model of irregular series, whose hidden state follows a differential equation."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo._checks import at_least, one_of, positive
from zoo._irregular import completed
from zoo._module import ZooModule
from zoo._solvers import integrate

DYNAMICS = ("ode", "recurrent")


class GatedUnit(nn.Module):
    """A gated recurrent unit (GRU), as torch's own, which vmap cannot map over.

    r, u = s(A x + B h),   c = tanh(A' x + r (B' h)),   h <- (1 - u) c + u h
    """

    def __init__(self, in_features: int, hidden_features: int) -> None:
        super().__init__()
        self.input = nn.Linear(in_features, 3 * hidden_features)
        self.past = nn.Linear(hidden_features, 3 * hidden_features)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        (r, u, c), (r_h, u_h, c_h) = self.input(x).chunk(3, -1), self.past(h).chunk(3, -1)
        u = (u + u_h).sigmoid()
        out: Tensor = (1 - u) * (c + (r + r_h).sigmoid() * c_h).tanh() + u * h
        return out


class BackwardEncoder(nn.Module):
    """Mean and log-variance of q(z_0), (N, latent) each, by a GRU that reads a series from its end to its beginning.

    It is fed the values, their mask and the time until the next observation after them, and passes by times at which
    nothing was observed. A series that was observed nowhere has the prior: zeros.
    """

    def __init__(self, channels: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.unit = GatedUnit(2 * channels + 1, hidden)
        self.head = nn.Linear(hidden, 2 * latent)

    def forward(self, values: Tensor, mask: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        some = mask.any(-1)
        x = torch.cat([torch.where(mask, values, 0.0), mask.to(values), _until_next(some, times)[..., None]], -1)
        h = torch.zeros_like(x[:, 0, :1]).expand(-1, self.hidden)
        for now, known in reversed(list(zip(x.unbind(1), some[..., None].unbind(1), strict=True))):
            h = torch.where(known, self.unit(now, h), h)
        mean, log_variance = (self.head(h) * some.any(1, keepdim=True)).chunk(2, -1)
        return mean, log_variance


def _until_next(some: Tensor, times: Tensor) -> Tensor:
    """From each time to the next later one at which something was observed, (N, T); 0 where there is none."""
    observed = torch.where(some, times, math.inf)
    after = torch.cat([observed[:, 1:], torch.full_like(times[:, :1], math.inf)], 1)
    after = after.flip(1).cummin(1).values.flip(1)
    return torch.where(after < math.inf, after - times, 0.0)


class Flow(nn.Module):
    """z' = f(z), f fully connected, solved for series of different times at once.

    Over the index s of the time, dz/ds = f(z) (t_{k+1} - t_k) for k < s < k + 1: each series goes at its own pace.
    """

    def __init__(self, latent: int, hidden: int, substeps: int) -> None:
        super().__init__()
        self.features, self.substeps = latent, substeps
        self.field = nn.Sequential(
            *(nn.Linear(latent, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh()),
            nn.Linear(hidden, latent),
        )

    def forward(self, z: Tensor, gaps: Tensor) -> Tensor:
        paces = gaps[..., None].unbind(1)

        def rate(s: float, z: Tensor) -> Tensor:
            return self.field(z) * paces[int(s)]

        knots = range(gaps.shape[1] + 1)
        return integrate(rate, z, knots, "rk4", 1 / self.substeps, jumps=knots).states.movedim(0, 1)


class Recurrence(nn.Module):
    """h_0 = tanh(A z_0 + a), h_{k+1} = GRU(t_{k+1} - t_k, h_k): no equation, but a unit that is told the time."""

    def __init__(self, latent: int, hidden: int) -> None:
        super().__init__()
        self.features = hidden
        self.start = nn.Linear(latent, hidden)
        self.unit = GatedUnit(1, hidden)

    def forward(self, z: Tensor, gaps: Tensor) -> Tensor:
        states = [self.start(z).tanh()]
        for gap in gaps.unbind(1):
            states.append(self.unit(gap[:, None], states[-1]))
        return torch.stack(states, 1)


class LatentODE(ZooModule):
    """A variational autoencoder of irregular series: a latent state that follows z' = f(z), seen through a decoder.

        z(t_0) ~ N(0, I),   z' = f(z),   x_k ~ N(g(z(t_k)), noise^2)
        log p(x) >= E_q log p(x | z(t_0)) - KL(q(z(t_0) | x) || N(0, I))        (ELBO)

    q is normal with independent components, found by a GRU that reads the series backward in time. The likelihood is
    that of the observed values alone, each with the known deviation `noise`. The equation is solved by `substeps` steps
    of rk4 between two times, differentiated exactly, and goes on to times at which nothing was observed. With dynamics
    `recurrent` a GRU takes the place of the equation: a control.

    `forward` maps values (N, T, C), mask (N, T, C) and times (N, T) to the series (N, T, C) that the mean of q has, at
    all times; `predict(values, times=times)` takes NaN for what was not observed. t_0 is the first time of a series; of
    a shift in time nothing depends, nor of values that the mask leaves out. A batch is (values, mask, times, normals),
    standard normal numbers (N, latent_features) by which one z(t_0) is drawn for each series. Logged beside the loss
    are `elbo`, `log_likelihood` and `kl`, in nats a series. Trained by Adam. Raises ValueError for a size below 1, a
    noise or lr that is not positive, and other dynamics.

    Source: R. T. Q. Chen, Y. Rubanova, J. Bettencourt and D. Duvenaud, "Neural ordinary differential equations",
    NeurIPS 2018, arXiv:1806.07366; irregular times: Y. Rubanova, R. T. Q. Chen and D. Duvenaud, "Latent ODEs for
    irregularly-sampled time series", NeurIPS 2019, arXiv:1907.03907. Deliberate differences: the encoder is told the
    mask and the gaps, where the latter's ODE-RNN lets its state follow an equation between two observations; fixed
    steps in place of dopri5 and the adjoint; a GRU in place of the former's plain RNN, wider networks, and tanh in the
    field.
    """

    vectorizes = True
    tiny: ClassVar[dict[str, Any]] = {"hidden_features": 8}

    def __init__(
        self,
        in_channels: int,
        noise: float,
        latent_features: int = 4,
        hidden_features: int = 64,
        dynamics: str = "ode",
        substeps: int = 1,
        lr: float = 1e-2,
    ) -> None:
        super().__init__()
        sizes = {"in_channels": in_channels, "latent_features": latent_features, "hidden_features": hidden_features}
        at_least(1, **sizes, substeps=substeps)
        positive(noise=noise, lr=lr)
        one_of(DYNAMICS, dynamics=dynamics)
        self.save_hyperparameters()
        self.noise, self.lr = noise, lr
        latent, hidden = latent_features, hidden_features
        self.encoder = BackwardEncoder(in_channels, hidden, latent)
        self.dynamics = Flow(latent, hidden, substeps) if dynamics == "ode" else Recurrence(latent, hidden)
        self.decoder = nn.Sequential(
            nn.Linear(self.dynamics.features, hidden), nn.ReLU(), nn.Linear(hidden, in_channels)
        )

    def forward(self, values: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        mean, _ = self.encoder(values, mask, times)
        return self.decode(mean, times)

    def decode(self, z: Tensor, times: Tensor) -> Tensor:
        """The series (N, T, C) at times (N, T) of states (N, latent_features) at the first of them."""
        out: Tensor = self.decoder(self.dynamics(z, times.diff(dim=1)))
        return out

    def bound(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """log p(x | z) of a z that is drawn from q, and KL(q || N(0, I)), (N,) each: the ELBO is their difference."""
        values, mask, times, normals = batch
        mean, log_variance = self.encoder(values, mask, times)
        found = self.decode(mean + (log_variance / 2).exp() * normals, times)
        error = (torch.where(mask, values, 0.0) - found) / self.noise
        log_density = -(error.square() + math.log(2 * math.pi * self.noise**2)) / 2
        kl = (log_variance.exp() + mean.square() - 1 - log_variance).sum(-1) / 2
        return torch.where(mask, log_density, 0.0).sum((1, 2)), kl

    def inputs(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return batch[:3]

    def complete(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        return completed(given, next(self.parameters()).dtype, self.hparams["in_channels"])

    def step(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        log_likelihood, kl = (part.mean() for part in self.bound(batch))
        elbo = log_likelihood - kl
        return {"loss": -elbo, "elbo": elbo, "log_likelihood": log_likelihood, "kl": kl}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)

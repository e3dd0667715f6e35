"""ContinuousNormalisingFlow: a density that a learned vector field makes of the standard normal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import at_least, one_of, positive
from zoo._module import ZooModule
from zoo._solvers import integrate, with_time
from zoo.differential._flow import PROBES, basis, log_density, probe, refuse_dimension

ACTIVATIONS = ("tanh", "softplus")


class TangentMLP(nn.Module):
    """f(t, x) by a fully connected network of (x, t), which takes tangents along.

    A tangent v goes through a layer as h = W x + b, J v = W v, and through an activation as s(h), s'(h) v, beside the
    point itself: products with the Jacobian cost what an evaluation costs, and no second graph.
    """

    def __init__(self, features: int, hidden_features: int, layers: int, activation: str) -> None:
        super().__init__()
        sizes = [features + 1, *[hidden_features] * layers]
        self.hidden = nn.ModuleList(map(nn.Linear, sizes, sizes[1:]))
        self.last = nn.Linear(hidden_features, features)
        self.activation = activation

    def forward(self, t: Any, x: Tensor) -> Tensor:
        h = with_time(t, x)
        for layer in self.hidden:
            h, _ = self._activated(layer(h))
        return self.last(h)

    def pushed(self, t: Any, x: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        """f(t, x), (N, d), and J v for tangents v, (K, N, d), or (K, 1, d) where they are those of all points."""
        h, v = with_time(t, x), F.pad(tangents, (0, 1))  # time stands still along a tangent
        for layer in self.hidden:
            h, slope = self._activated(layer(h))
            v = slope * F.linear(v, cast(nn.Linear, layer).weight)
        return self.last(h), F.linear(v, self.last.weight)

    def _activated(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """s(h) and s'(h)."""
        if self.activation == "softplus":
            return F.softplus(h), h.sigmoid()
        value = h.tanh()
        return value, 1 - value.square()


class ContinuousNormalisingFlow(ZooModule):
    """The density of x(T), where x(0) ~ N(0, I) and dx/dt = f(t, x), f a fully connected network.

        log p(x(T)) = log N(x(0); 0, I) - int_0^T tr(df/dx)(t, x(t)) dt

    x(0) is found by solving the equation backward from the data, both integrals at once by `steps` steps of rk4; the
    gradient is that of these steps. `trace` says how the trace is found in training: `exact` takes d products with the
    Jacobian, `rademacher` and `gaussian` take one, eps . J eps with an eps that is drawn once for each solution
    (Hutchinson): an unbiased estimate of log p, and of its gradient. Outside training it is exact.

    `forward` and `log_prob` map x, (N, d), to log p(x), (N,), in nats; `sample` draws from the density, `paths` follows
    points of the base; `predict` gives log p of raw points, per raw units of volume. The loss is the negative mean of
    log p. Trained by Adam. Raises ValueError for a size below 1, another activation or trace, and points of another
    dimension than the density's.

    Source: R. T. Q. Chen, Y. Rubanova, J. Bettencourt and D. Duvenaud, "Neural ordinary differential equations",
    NeurIPS 2018, arXiv:1806.07366; the estimated trace: W. Grathwohl et al., "FFJORD", ICLR 2019, arXiv:1810.01367.
    Deliberate differences: fixed steps, differentiated exactly, in place of dopri5 and the adjoint, and a plain network
    of (x, t) in place of layers that are gated by time.
    """

    is_density = True
    tiny: ClassVar[dict[str, Any]] = {"hidden_features": 8, "layers": 1, "steps": 2}

    def __init__(
        self,
        in_features: int,
        hidden_features: int = 64,
        layers: int = 2,
        activation: str = "tanh",
        trace: str = "exact",
        time: float = 1.0,
        steps: int = 8,
        lr: float = 5e-3,
    ) -> None:
        super().__init__()
        at_least(1, in_features=in_features, hidden_features=hidden_features, layers=layers, steps=steps)
        one_of(ACTIVATIONS, activation=activation)
        one_of(("exact", *PROBES), trace=trace)
        positive(time=time, lr=lr)
        self.save_hyperparameters()
        self.in_features, self.trace, self.time, self.steps, self.lr = in_features, trace, time, steps, lr
        self.field = TangentMLP(in_features, hidden_features, layers, activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.log_prob(x)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), (N,), in nats."""
        refuse_dimension(x, self.in_features)
        estimated = self.training and self.trace != "exact"
        return log_density(self.field, x, probe(x, self.trace) if estimated else basis(x), self.time, self.steps)

    def sample(self, size: int, generator: torch.Generator | None = None) -> Tensor:
        """Points (size, d) that the flow makes of fresh points of the base."""
        like = self.field.last.weight
        z = torch.randn(size, self.in_features, generator=generator, dtype=like.dtype, device=like.device)
        return self.paths(z, (0.0, self.time))[-1]

    def paths(self, z: Tensor, times: Sequence[float]) -> Tensor:
        """Where points z of the base, (N, d), are at times from 0 on: (T, N, d)."""
        refuse_dimension(z, self.in_features)
        return integrate(self.field, z, times, "rk4", min(self.time / self.steps, times[-1] - times[0])).states

    def step(self, batch: tuple[Tensor]) -> dict[str, Tensor]:
        return {"loss": -self.log_prob(batch[0]).mean()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)

"""HybridODE: a known law of growth with an interaction that is learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import at_least, positive
from zoo._module import ZooModule
from zoo._solvers import integrate


class HybridField(nn.Module):
    """dy_i/dt = r_i y_i + n_i(y), n a network of two hidden layers."""

    rates: Tensor

    def __init__(self, rates: Sequence[float], hidden: int) -> None:
        super().__init__()
        self.register_buffer("rates", torch.tensor(list(rates)))
        self.interaction = nn.Sequential(
            *(nn.Linear(len(rates), hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh()),
            nn.Linear(hidden, len(rates)),
        )

    def forward(self, t: Any, y: Tensor) -> Tensor:
        out: Tensor = self.rates * y + self.interaction(y)
        return out


class HybridODE(ZooModule):
    """A universal differential equation: what is known of a law, and a network for what is not.

        dy_i/dt = r_i y_i + n_i(y)

    with the known `rates` r_i, and n fully connected. A batch is (states,), states (N, T, d) at equal intervals: each
    series is solved from its first state on, by `substeps` steps of rk4 between two observations, differentiated
    exactly, and the loss is the mean squared error at the later times. Rates of zero make it a neural differential
    equation that knows nothing.

    `forward` maps states (N, d) to their velocities (N, d); `solve` gives (N, count + 1, d). Trained by Adam. Raises
    ValueError for a size below 1, no rates, and an interval or lr that is not positive.

    Source: C. Rackauckas et al., "Universal differential equations for scientific machine learning", 2020,
    arXiv:2001.04385. Deliberate difference: short windows in place of the whole trajectory, for a loss without local
    minima far from the truth.
    """

    vectorizes = True
    tiny: ClassVar[dict[str, Any]] = {"hidden_features": 4}

    def __init__(
        self,
        interval: float,
        rates: Sequence[float] = (1.3, -1.8),
        hidden_features: int = 32,
        substeps: int = 2,
        lr: float = 1e-2,
    ) -> None:
        super().__init__()
        at_least(1, hidden_features=hidden_features, substeps=substeps)
        positive(interval=interval, lr=lr)
        if not rates:
            raise ValueError("rates must name one for each state, got none")
        self.save_hyperparameters()
        self.interval, self.substeps, self.lr = interval, substeps, lr
        self.field = HybridField(rates, hidden_features)

    def forward(self, states: Tensor) -> Tensor:
        return self.field(0.0, states)

    def interaction(self, states: Tensor) -> Tensor:
        """n(y), the learned part of the law, (…, d)."""
        return self.field.interaction(states)

    def solve(self, start: Tensor, count: int) -> Tensor:
        """The states (N, count + 1, d) at as many intervals from the first ones (N, d) on."""
        times = [self.interval * k for k in range(count + 1)]
        return integrate(self.field, start, times, "rk4", self.interval / self.substeps).states.movedim(0, 1)

    def inputs(self, batch: tuple[Tensor]) -> tuple[Tensor]:
        return (batch[0][:, 0],)

    def step(self, batch: tuple[Tensor]) -> dict[str, Tensor]:
        (states,) = batch
        found = self.solve(states[:, 0], states.shape[1] - 1)
        return {"loss": F.mse_loss(found[:, 1:], states[:, 1:])}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)

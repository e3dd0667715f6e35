"""AugmentedODE: a flow with extra dimensions, which may do what no flow of the plain space can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import at_least, not_negative, positive
from zoo._module import ZooModule
from zoo._solvers import integrate, with_time


class TimedMLP(nn.Module):
    """f(t, h): a network of (h, t) with two hidden layers of softplus units, so that it is smooth."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            *(nn.Linear(features + 1, hidden), nn.Softplus()),
            *(nn.Linear(hidden, hidden), nn.Softplus()),
            nn.Linear(hidden, features),
        )

    def forward(self, t: Any, h: Tensor) -> Tensor:
        out: Tensor = self.network(with_time(t, h))
        return out


class AugmentedODE(ZooModule):
    """A function of vectors by the flow of a differential equation in p = `augment` more dimensions.

        h(0) = (x, 0_p),   dh/dt = f(t, h) for 0 <= t <= 1,   y = h(1)_{1 … out_features}   or   y = W h(1) + b

    with f a fully connected network, and the linear map only with `readout`. Without extra dimensions x -> h(1) is a
    homeomorphism that keeps orientation: no point passes another on a line, and of nested rings the inner one stays
    inside. With p > 0 both are possible.

    `forward` maps (N, in_features) to (N, out_features), `paths` gives h at any times. The loss is the mean squared
    error. Solved by `steps` steps of rk4, differentiated exactly; trained by Adam. Raises ValueError for a size below
    1, augment below 0, an lr that is not positive, and more out_features than the state has, without a readout.

    Source: E. Dupont, A. Doucet and Y. W. Teh, "Augmented neural ODEs", NeurIPS 2019, arXiv:1904.01681. Deliberate
    differences: fixed steps, differentiated exactly, and softplus in place of ReLU, for a smooth field.
    """

    vectorizes = True
    tiny: ClassVar[dict[str, Any]] = {"hidden_features": 8, "steps": 2}

    def __init__(
        self,
        in_features: int,
        out_features: int = 1,
        augment: int = 0,
        hidden_features: int = 32,
        readout: bool = True,
        steps: int = 8,
        lr: float = 1e-2,
    ) -> None:
        super().__init__()
        at_least(1, in_features=in_features, out_features=out_features, hidden_features=hidden_features, steps=steps)
        not_negative(augment=augment)
        positive(lr=lr)
        if not readout and out_features > in_features + augment:
            raise ValueError(
                f"out_features must be at most in_features + augment = {in_features + augment} without a readout, "
                f"got {out_features}"
            )
        self.save_hyperparameters()
        self.augment, self.out_features, self.steps, self.lr = augment, out_features, steps, lr
        features = in_features + augment
        self.field = TimedMLP(features, hidden_features)
        self.readout = nn.Linear(features, out_features) if readout else None

    def forward(self, x: Tensor) -> Tensor:
        end = self.paths(x, (0.0, 1.0))[-1]
        return end[..., : self.out_features] if self.readout is None else self.readout(end)

    def paths(self, x: Tensor, times: Sequence[float]) -> Tensor:
        """h at times from 0 on, (T, N, in_features + augment)."""
        step = min(1 / self.steps, times[-1] - times[0])
        return integrate(self.field, F.pad(x, (0, self.augment)), times, "rk4", step).states

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        x, y = batch
        return {"loss": F.mse_loss(self(x), y)}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)

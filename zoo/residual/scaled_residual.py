"""ScaledResNet: a deep fully connected residual network whose layers carry a factor that training may shrink."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import at_least, one_of, positive
from zoo._module import ZooModule
from zoo.residual._recurrence import ACTIVATIONS, Recurrence

DELTAS = ("none", "shared", "multi")
INITS = ("xavier", "xavier-depth")


class ScaledResNet(ZooModule):
    """A residual network without layers that read in or out.

        h_0 = x,   h_{k+1} = h_k + delta_k sigma(A_k h_k + b_k),   k = 0 … L - 1,   f(x) = h_L

    with L = `depth` and sigma the `activation`: "tanh", "relu" or "linear". The factors are 1 ("none"), the absolute
    value of one trained number ("shared"), or a trained number for each layer ("multi"). With s = `scale` and d =
    `in_features`, the start "xavier" is A ~ N(0, (s / d)^2) and b ~ N(0, s^2 / d), and "xavier-depth" has both divided
    by L; a shared factor starts at 1 / L, factors of layers at N(0, 1 / L^2).

    `forward` maps x of shape (B, d) to (B, d), `states` to all h_k, (L + 1, B, d); `step` gives the mean squared error
    over samples and coordinates. Trained by Adam. The layers are stacked: `weight` (L, d, d), `bias` (L, d), `delta` ()
    or (L,). Gradients are first derivatives only.

    Raises ValueError for a size below 1, a scale or lr that is not positive, and an unknown delta, activation or init.

    Source: Cohen, Cont, Rossier and Xu, "Scaling properties of deep residual networks", ICML 2021, arXiv:2105.12245,
    and the authors' code.
    """

    vectorizes = True
    tiny = {"depth": 4}
    exceptions = {"second derivatives": "the gradient is written out"}

    def __init__(
        self,
        in_features: int,
        depth: int = 64,
        delta: str = "shared",
        activation: str = "tanh",
        init: str = "xavier-depth",
        scale: float = 0.01,
        lr: float = 1e-2,
    ) -> None:
        super().__init__()
        at_least(1, in_features=in_features, depth=depth)
        positive(scale=scale, lr=lr)
        one_of(DELTAS, delta=delta)
        one_of(tuple(ACTIVATIONS), activation=activation)
        one_of(INITS, init=init)
        self.save_hyperparameters()
        self.depth, self.activation, self.kind = depth, activation, delta
        size = scale / (depth if init == "xavier-depth" else 1)
        self.weight = nn.Parameter(torch.randn(depth, in_features, in_features) * (size / in_features))
        self.bias = nn.Parameter(torch.randn(depth, in_features) * (size / math.sqrt(in_features)))
        if delta == "shared":
            self.delta = nn.Parameter(torch.tensor(1 / depth))
        elif delta == "multi":
            self.delta = nn.Parameter(torch.randn(depth) / depth)

    @property
    def factors(self) -> Tensor:
        """delta_k, of shape (L,)."""
        if self.kind == "none":
            return torch.ones_like(self.bias[:, 0])
        return self.delta if self.kind == "multi" else self.delta.abs().expand(self.depth)

    def states(self, x: Tensor) -> Tensor:
        """h_0 … h_L, of shape (L + 1, B, d)."""
        factors, bias = self.factors[:, None, None, None], self.bias[:, None, None]
        states, _ = Recurrence.apply(self.weight[:, None], bias, factors, x[None], self.activation)
        return states[:, 0]

    def forward(self, x: Tensor) -> Tensor:
        return self.states(x)[-1]

    def step(self, batch: Any) -> dict[str, Tensor]:
        x, y = batch
        return {"loss": F.mse_loss(self(x), y)}

    def along_depth(self) -> dict[str, Sequence[Tensor]]:
        """The weights of the layers in their order: the A_k, the factors, and their products delta_k A_k."""
        factors = self.factors
        product = factors[:, None, None] * self.weight
        return {"weight": self.weight.unbind(), "delta": factors.unbind(), "product": product.unbind()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.hparams["lr"])

"""A network that learns a dynamical system's rates, made sparse by an l1 penalty."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import at_least, not_negative, positive
from zoo._module import ZooModule


class DynamicsNetwork(ZooModule):
    """A ReLU network from state and inputs to the rates of change, with an l1 penalty on its weights.

        h_0 = z,   h_l = relu(W_l h_{l-1} + b_l),   f(z) = W_L h_{L-1} + b_L
        loss = mean (f(z) - y)^2 + l1 sum_l sum_ij |W_l,ij|

    With `skip`, every layer after the first takes (h_{l-1}, z) instead of h_{l-1} alone.

    Shapes: z is (N, in_features), f(z) and y are (N, out_features). `step` gives `loss`, and without the penalty `mse`.
    Weights start as Kaiming-normal, biases at zero, whatever l1 is. Trained by Adam at a constant rate: the penalty's
    subgradient keeps unneeded weights near zero, not at it, so that a weight counts as zero below a threshold.

    The penalty is a buffer, so that networks of different penalties train in one stack.

    Raises ValueError for sizes below 1, for lr that is not positive and for a negative l1.

    Source: E. T. B. Lundby, A. Rasheed, I. J. Halvorsen and J. T. Gravdahl, "Sparse deep neural networks for modeling
    aluminum electrolysis dynamics", 2022, arXiv:2209.05832; sizes from the code of H. Robinson, E. Lundby, A. Rasheed
    and J. T. Gravdahl, 2022, arXiv:2209.10861. `skip` follows that code's variant of the InputSkip network of
    E. T. B. Lundby, H. Robinson, A. Rasheed, I. Halvorsen and J. T. Gravdahl, "Sparse neural networks with
    skip-connections for identification of aluminum electrolysis cell", 2023, arXiv:2301.00582, whose output layer also
    sees all earlier layers.
    """

    l1: Tensor
    vectorizes = True
    initial = ("l1",)
    tiny = {"widths": (6, 5)}

    def __init__(
        self,
        in_features: int = 13,
        out_features: int = 8,
        widths: Sequence[int] = (20, 20, 20, 20),
        skip: bool = False,
        l1: float = 0.0,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        at_least(1, in_features=in_features, out_features=out_features, widths=widths)
        positive(lr=lr)
        not_negative(l1=l1)
        self.save_hyperparameters()
        self.skip = skip
        more = in_features if skip else 0
        sizes = [(in_features, widths[0]), *((a + more, b) for a, b in pairwise([*widths, out_features]))]
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in sizes)
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.register_buffer("l1", torch.tensor(float(l1)))

    @property
    def weights(self) -> list[Tensor]:
        """The weight matrices from first to last, each (out, in)."""
        return [layer.weight for layer in self.layers]  # type: ignore[misc]

    def forward(self, z: Tensor) -> Tensor:
        h = F.relu(self.layers[0](z))
        for layer in self.layers[1:-1]:
            h = F.relu(layer(self._with_input(h, z)))
        return self.layers[-1](self._with_input(h, z))

    def _with_input(self, h: Tensor, z: Tensor) -> Tensor:
        return torch.cat([h, z], dim=-1) if self.skip else h

    def step(self, batch: Any) -> dict[str, Tensor]:
        z, y = batch
        mse = F.mse_loss(self(z), y)
        magnitude = torch.cat([weight.flatten() for weight in self.weights]).abs().sum()  # in one: sums are slow alone
        return {"loss": mse + self.l1 * magnitude, "mse": mse}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.hparams["lr"])

"""Residual networks whose layers start alike: as they get deeper, neural ordinary differential equations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import at_least, one_of, positive
from zoo._module import ZooModule

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu}
INITS = ("tied", "iid")


class DeepLimitResNet(ZooModule):
    """A residual network whose layers are scaled by 1/L, an Euler scheme with step 1/L as soon as they vary smoothly.

        h_0 = x,   h_{k+1} = h_k + (1/L) V_{k+1} sigma(W_{k+1} h_k),   f(x) = h_L,   k = 0 … L - 1

    Shapes: x and f(x) are (N, d), `outer` holds the V_k as (L, d, M), `inner` the W_k as (L, M, d). There is no bias.
    The loss is mean((f(x) - y)^2) over samples and coordinates. sigma is "gelu" or "relu".

    V_k = 0 at the start, so that f is the identity. The W_k are standard normal: one draw for all layers ("tied"), the
    same for every depth, so that networks of all depths approach one limit, or a draw for each layer ("iid"). Trained
    by gradient descent with step L * lr: a layer's gradient falls as 1/L, and the factor undoes that.

    Raises ValueError for a size below 1, a step that is not positive, and an unknown activation or initialisation.

    Source: P. Marion, Y.-H. Wu, M. E. Sander and G. Biau, "Implicit regularization of deep residual networks towards
    neural ODEs", ICLR 2024, arXiv:2309.01213.
    """

    vectorizes = True
    initial = ("init",)
    tiny = {"depth": 3, "width": 4}

    def __init__(
        self,
        in_features: int,
        depth: int = 64,
        width: int = 32,
        activation: str = "gelu",
        init: str = "tied",
        lr: float = 0.01,
    ) -> None:
        super().__init__()
        at_least(1, in_features=in_features, depth=depth, width=width)
        positive(lr=lr)
        one_of(ACTIVATIONS, activation=activation)
        one_of(INITS, init=init)
        self.save_hyperparameters()
        self.activation = ACTIVATIONS[activation]
        self.lr = lr
        drawn = torch.randn(1 if init == "tied" else depth, in_features, width)
        self.inner = nn.Parameter(drawn.mT.expand(depth, -1, -1).clone(memory_format=torch.contiguous_format))
        self.outer = nn.Parameter(torch.zeros(depth, in_features, width))

    @property
    def depth(self) -> int:
        return self.outer.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        # one operation on all layers where that is possible: what is inside the loop is done a thousand times
        scaled = (self.outer / self.depth).mT
        for inner, outer in zip(self.inner.mT.unbind(), scaled.unbind(), strict=True):
            x = x + self.activation(x @ inner) @ outer
        return x

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        x, y = batch
        return {"loss": F.mse_loss(self(x), y)}

    def along_depth(self) -> dict[str, Sequence[Tensor]]:
        """The weights of the layers in their order: the W_k ("inner") and the V_k ("outer")."""
        return {"inner": self.inner.unbind(), "outer": self.outer.unbind()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.depth * self.lr)

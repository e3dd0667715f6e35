"""DeepLimitConvNet: a convolutional residual network with layers scaled by 1/L, on its way to a neural ODE."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import at_least, not_negative, one_of, positive
from zoo._module import ZooModule
from zoo._scores import scores
from zoo.residual.deep_limit import INITS

ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU, "identity": nn.Identity}
WINDOW = 4  # pixels that are averaged, in height and in width


class EulerBlock(nn.Module):
    """A step of length 1/L, y = x + (1/L) N(V * sigma(N(W * x))), with 3×3 convolutions; (B, C, H, W) to the same.

    N is a batch normalisation, or nothing. It is the identity at the start: the gain of the outer norm is zero, or
    where there is none, V and its bias; W is then ten thousand times below Glorot's scale.
    """

    def __init__(self, channels: int, depth: int, activation: str, batch_norm: bool) -> None:
        super().__init__()
        self.depth = depth
        # a bias before a norm would be subtracted again
        self.inner, self.outer = (nn.Conv2d(channels, channels, 3, padding=1, bias=not batch_norm) for _ in range(2))
        self.inner_norm, self.outer_norm = (nn.BatchNorm2d(channels) if batch_norm else nn.Identity() for _ in range(2))
        self.activation = ACTIVATIONS[activation]()
        if isinstance(self.outer_norm, nn.BatchNorm2d):
            nn.init.zeros_(self.outer_norm.weight)
        else:
            nn.init.xavier_uniform_(self.inner.weight, gain=1e-4)
            for parameter in self.outer.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.outer_norm(self.outer(self.activation(self.inner_norm(self.inner(x)))))
        return x + residual / self.depth


class DeepLimitConvNet(ZooModule):
    """A classifier of small images by a deep residual network of one width, scaled as the Euler scheme of an ODE.

        h_0 = ReLU(BN(stem * x)),   h_{k+1} = h_k + (1/L) N(V_k * sigma(N(W_k * h_k))),   k = 0 … L - 1
        logits = C pool(h_L) + c

    with a stem of 5×5 and stride 3 (images of 32×32 become maps of 10×10), 3×3 convolutions W_k and V_k, the mean over
    windows of 4×4, of which there are four, and L = `depth`. N is a batch normalisation, or with batch_norm: false
    nothing. sigma is "gelu", "relu" or "identity". At the start every block is the identity (`EulerBlock` says how), so
    that the network is C pool(h_0) + c. The blocks start alike, copies of the first ("tied"), or as drawn ("iid").

    `forward` maps (B, in_channels, H, W), H and W from 24 to 35, to logits (B, num_classes); `step` gives cross-entropy
    and accuracy. Trained by SGD with momentum 0.9 and weight decay; the learning rate is not multiplied by L.

    Raises ValueError for a size below 1, a rate that is not positive, a negative weight decay, an unknown activation or
    initialisation, and images of another size.

    Source: P. Marion, Y.-H. Wu, M. E. Sander and G. Biau, "Implicit regularization of deep residual networks towards
    neural ODEs", ICLR 2024, arXiv:2309.01213, and the authors' code. Deliberate difference: convolutions that a batch
    normalisation follows have no bias, which it would undo.
    """

    tiny: ClassVar[dict[str, Any]] = {"depth": 3, "channels": 4}

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        depth: int = 256,
        channels: int = 16,
        activation: str = "gelu",
        init: str = "tied",
        batch_norm: bool = True,
        lr: float = 0.04,
        weight_decay: float = 5e-4,
    ) -> None:
        super().__init__()
        at_least(1, in_channels=in_channels, num_classes=num_classes, depth=depth, channels=channels)
        one_of(ACTIVATIONS, activation=activation)
        one_of(INITS, init=init)
        positive(lr=lr)
        not_negative(weight_decay=weight_decay)
        self.save_hyperparameters()
        self.lr, self.weight_decay = lr, weight_decay
        self.stem = nn.Conv2d(in_channels, channels, 5, stride=3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        draws = [EulerBlock(channels, depth, activation, batch_norm) for _ in range(1 if init == "tied" else depth)]
        self.blocks = nn.Sequential(*(draws if init == "iid" else (copy.deepcopy(draws[0]) for _ in range(depth))))
        self.head = nn.Linear(4 * channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if not (24 <= height <= 35 and 24 <= width <= 35):
            raise ValueError(f"images must be 24 to 35 pixels high and wide, got {height}×{width}: resize them")
        h = self.blocks(F.relu(self.norm(self.stem(x))))
        return self.head(F.avg_pool2d(h, WINDOW).flatten(1))

    def step(self, batch: Any) -> dict[str, Tensor]:
        x, labels = batch
        return scores(self(x), labels)

    def along_depth(self) -> dict[str, Sequence[Tensor]]:
        """The kernels of the blocks in their order: the W_k ("inner") and the V_k ("outer")."""
        blocks: list[Any] = list(self.blocks)
        return {"inner": [b.inner.weight for b in blocks], "outer": [b.outer.weight for b in blocks]}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9, weight_decay=self.weight_decay)

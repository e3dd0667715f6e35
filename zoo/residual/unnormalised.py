"""UnnormalisedResNet: a residual network for images that nothing normalises, in sixteen depths."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import at_least, not_negative, positive
from zoo._module import ZooModule
from zoo._scores import scores

#: The blocks of the four stages, by their sum: the depth L.
BLOCKS: dict[int, tuple[int, int, int, int]] = {
    8: (2, 2, 2, 2),
    11: (2, 3, 4, 2),
    12: (2, 3, 5, 2),
    14: (3, 3, 5, 3),
    16: (3, 4, 6, 3),
    18: (3, 4, 8, 3),
    20: (3, 4, 10, 3),
    24: (3, 4, 14, 3),
    28: (3, 4, 18, 3),
    33: (3, 4, 23, 3),
    42: (3, 8, 28, 3),
    50: (3, 8, 36, 3),
    65: (3, 8, 51, 3),
    80: (4, 12, 60, 4),
    100: (4, 18, 74, 4),
    121: (4, 31, 82, 4),
}


class UnnormalisedBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut, y = ReLU(S x + delta * ReLU(A * x)), without norms and biases.

    (B, in_channels, H, W) -> (B, out_channels, ⌈H/s⌉, ⌈W/s⌉) for stride s. The shortcut S is the identity where that
    keeps the shape, else a 1×1 convolution of stride s.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.weight = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.delta = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.delta(F.relu(self.weight(x))))


class UnnormalisedResNet(ZooModule):
    """A residual network of `depth` blocks without batch normalisation, to see how its weights scale with the depth.

        h_0 = ReLU(stem * x),   h_{k+1} = ReLU(S_k h_k + delta_k * ReLU(A_k * h_k)),   logits = C mean(h_L) + c

    with 3×3 convolutions of `width`, 2, 4 and 8 times as many channels in four stages, whose first blocks have strides
    1, 2, 2 and 2; S_k is the identity but in the first blocks of the later stages, where it is a 1×1 convolution. Only
    the last layer has a bias. The depths are those of the table BLOCKS, which says how many blocks a stage has.

    `forward` maps (B, in_channels, H, W) to logits (B, num_classes); `step` gives cross-entropy and accuracy. Weights
    start as torch's layers do, from a uniform distribution of variance 1 / (3 inputs). Trained by SGD with momentum 0.9
    and weight decay, its learning rate constant unless a schedule is set.

    Raises ValueError for a depth that is not in the table, a size below 1, a rate that is not positive, and a negative
    weight decay.

    Source: Cohen, Cont, Rossier and Xu, "Scaling properties of deep residual networks", ICML 2021, arXiv:2105.12245,
    and the authors' code, where A_k is the first convolution of a block and delta_k the second.
    """

    tiny: ClassVar[dict[str, Any]] = {"width": 4}

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        depth: int = 8,
        width: int = 64,
        lr: float = 0.1,
        weight_decay: float = 5e-4,
    ) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(f"depth must be one of {', '.join(map(str, BLOCKS))}, got {depth}")
        at_least(1, in_channels=in_channels, num_classes=num_classes, width=width)
        positive(lr=lr)
        not_negative(weight_decay=weight_decay)
        self.save_hyperparameters()
        self.lr, self.weight_decay = lr, weight_decay
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        channels = [width, *(width * 2**stage for stage, count in enumerate(BLOCKS[depth]) for _ in range(count))]
        self.blocks = nn.Sequential(*(UnnormalisedBlock(a, b, stride=b // a) for a, b in pairwise(channels)))
        self.head = nn.Linear(channels[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(F.relu(self.stem(x))).mean((2, 3)))

    def step(self, batch: Any) -> dict[str, Tensor]:
        x, labels = batch
        return scores(self(x), labels)

    def along_depth(self) -> dict[str, Sequence[Tensor]]:
        """The kernels of the blocks in their order: the A_k ("weight") and the delta_k ("delta")."""
        blocks: list[Any] = list(self.blocks)
        return {"weight": [b.weight.weight for b in blocks], "delta": [b.delta.weight for b in blocks]}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9, weight_decay=self.weight_decay)

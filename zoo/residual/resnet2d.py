"""ResNet2d: a small residual network for images of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import at_least
from zoo._module import ZooModule
from zoo._scores import scores


class BasicBlock2d(nn.Module):
    """Two 3×3 convolutions beside a shortcut.

        y = ReLU(BN(conv(ReLU(BN(conv_s(x))))) + S(x))

    (B, in_channels, H, W) -> (B, out_channels, ⌈H/s⌉, ⌈W/s⌉) for stride s. The shortcut S is the identity where
    that keeps the shape, else a 1×1 convolution of stride s with batch normalisation.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut = (
            nn.Identity()
            if stride == 1 and in_channels == out_channels
            else nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.residual(x) + self.shortcut(x))


class ResNet2d(ZooModule):
    """A residual network of basic blocks: the CIFAR-10 network of He et al., in its smallest form unless told.

        stem: 3×3 convolution, BN, ReLU
        stage i: `blocks` basic blocks of widths[i] channels, the first of stride 1 if i = 0 else 2, the others 1
        logits = linear(mean over the remaining positions)

    `forward` maps (B, in_channels, H, W) to logits (B, num_classes), for any H and W; `step` gives cross-entropy
    and accuracy. Trained by SGD with momentum 0.9, its learning rate constant unless a schedule is set.

    Source: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016, arXiv:1512.03385,
    section 4.2; its depth is 2 n S + 2 for n blocks in each of S stages (the paper's n = 3, 5, …). Deliberate
    differences: one block a stage unless told, projections instead of zero-padded shortcuts, no data augmentation, and
    no step schedule. No number of the paper is claimed for it.
    """

    tiny = {"widths": (4, 8)}

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int] = (16, 32, 64),
        blocks: int = 1,
        lr: float = 0.1,
        weight_decay: float = 1e-4,
    ) -> None:
        super().__init__()
        at_least(1, in_channels=in_channels, num_classes=num_classes, widths=widths, blocks=blocks)
        self.save_hyperparameters()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        after = [width for width in widths for _ in range(blocks)]
        strides = [2 if n >= blocks and n % blocks == 0 else 1 for n in range(len(after))]
        self.blocks = nn.Sequential(*map(BasicBlock2d, (widths[0], *after), after, strides))
        self.head = nn.Linear(widths[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))

    def step(self, batch: Any) -> dict[str, Tensor]:
        x, labels = batch
        return scores(self(x), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        lr, weight_decay = self.hparams["lr"], self.hparams["weight_decay"]
        return torch.optim.SGD(self.parameters(), lr=lr, momentum=0.9, weight_decay=weight_decay)

"""NeuralODE: an image classifier whose feature maps follow a differential equation in place of residual blocks."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo._checks import at_least, positive
from zoo._module import ZooModule
from zoo._scores import scores
from zoo._solvers import Solution, check, integrate

GROUPS = 8  # of channels that are normalised together, where there are as many


class ConvolutionalField(nn.Module):
    """f(t, h) = N(C(t, ReLU(N(C(t, ReLU(N(h))))))): two 3×3 convolutions C that see the time as one more channel.

    N is a group normalisation, which unlike one by batches is a function of the state alone.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(normalisation(channels) for _ in range(3))
        self.convolutions = nn.ModuleList(nn.Conv2d(channels + 1, channels, 3, padding=1) for _ in range(2))

    def forward(self, t: Any, h: Tensor) -> Tensor:
        moment = (t * torch.ones_like(h[..., :1, :, :]),)
        for norm, convolution in zip(self.norms, self.convolutions, strict=False):
            h = convolution(torch.cat((norm(h).relu(), *moment), -3))
        return self.norms[-1](h)


def normalisation(channels: int) -> nn.GroupNorm:
    """Group normalisation in at most `GROUPS` groups of equal sizes."""
    return nn.GroupNorm(max(n for n in range(1, GROUPS + 1) if channels % n == 0), channels)


class NeuralODE(ZooModule):
    """A classifier of images: two strided convolutions, a differential equation, and an average over the positions.

        h(0) = stem(x),   dh/dt = f(t, h) for 0 <= t <= 1,   logits = W mean(ReLU(N(h(1)))) + b

    The stem takes every fourth position in each direction; f is a network of two convolutions. The parameters are as
    many as those of one residual block, however finely the equation is solved. `rk4`, `midpoint` and `euler` take
    `steps` equal steps, `dopri5` its own by `tolerance`; the gradient is that of the steps.

    `forward` maps (N, in_channels, H, W) to logits (N, num_classes). Trained by SGD with momentum 0.9. Beside loss and
    accuracy the `evaluations` of f are logged, those of the forward pass. Raises ValueError for a size below 1, an lr
    or tolerance that is not positive, and a method that `integrate` refuses.

    Source: R. T. Q. Chen, Y. Rubanova, J. Bettencourt and D. Duvenaud, "Neural ordinary differential equations",
    NeurIPS 2018, arXiv:1806.07366. Deliberate differences: fewer channels, and fixed steps, differentiated exactly, in
    place of dopri5 and the adjoint: solved backward, the state of such a field is not found again.
    """

    tiny: ClassVar[dict[str, Any]] = {"channels": 4, "steps": 1, "method": "euler"}

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        channels: int = 32,
        method: str = "rk4",
        steps: int = 2,
        tolerance: float = 1e-3,
        lr: float = 0.1,
    ) -> None:
        super().__init__()
        at_least(1, in_channels=in_channels, num_classes=num_classes, channels=channels, steps=steps)
        positive(tolerance=tolerance, lr=lr)
        check([0.0, 1.0], method, 1 / steps, tolerance, tolerance)
        self.save_hyperparameters()
        self.method, self.steps, self.tolerance, self.lr = method, steps, tolerance, lr
        self.stem = nn.Sequential(
            *(nn.Conv2d(in_channels, channels, 3, 2, padding=1), normalisation(channels), nn.ReLU()),
            nn.Conv2d(channels, channels, 3, 2, padding=1),
        )
        self.field = ConvolutionalField(channels)
        self.head = nn.Sequential(normalisation(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self._classified(self.solve(x).states[-1])

    def solve(self, x: Tensor) -> Solution:
        """h at the times 0 and 1, (2, N, channels, H / 4, W / 4)."""
        tolerance = self.tolerance
        return integrate(self.field, self.stem(x), (0.0, 1.0), self.method, 1 / self.steps, tolerance, tolerance)

    def _classified(self, h: Tensor) -> Tensor:
        return self.classifier(self.head(h))

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        x, labels = batch
        solution = self.solve(x)
        found = scores(self._classified(solution.states[-1]), labels)
        return found | {"evaluations": torch.full_like(found["loss"], solution.evaluations)}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)

"""NeuralCDE: a hidden state that is driven by the path of an irregular series, for classification."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo._checks import at_least, one_of, positive
from zoo._interpolation import INTERPOLATIONS, Path, interpolate
from zoo._irregular import completed
from zoo._module import ZooModule
from zoo._scores import scores
from zoo._solvers import Solution, check, integrate


class MatrixField(nn.Module):
    """f(z): a matrix (hidden, channels) for each state, by a fully connected network that ends in tanh.

    The tanh bounds the field, so that no state grows faster than the path's length.
    """

    def __init__(self, hidden: int, channels: int, width: int, layers: int) -> None:
        super().__init__()
        sizes = [hidden, *[width] * layers]
        parts = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
        self.network = nn.Sequential(*parts, nn.Linear(width, hidden * channels), nn.Tanh())
        self.shape = (hidden, channels)

    def forward(self, z: Tensor) -> Tensor:
        return self.network(z).unflatten(-1, self.shape)


class NeuralCDE(ZooModule):
    """A controlled differential equation, driven by the path X of a series that may be irregular and have gaps.

        dz = f(z) dX,   z(0) = A X(0) + a,   logits = B z(K) + b

    X is the path of (t, x_1, …, x_C) by one of four interpolations (`linear`, `rectilinear`, `hermite`, `natural`, see
    `zoo._interpolation.interpolate`), and the parameter that is integrated over is the index of the knot: what z is at
    a knot does not depend on that. No step crosses a knot, where the path's derivative jumps, for cubic paths too as
    soon as times are irregular: fixed solvers take steps of at most `step` knots, dopri5 starts anew. The gradient is
    that of the steps.

    `forward` maps values (N, T, C), mask (N, T, C) and times (N, T) to logits (N, num_classes); `states` gives z at the
    knots. `predict(values, times=times)` takes NaN for what was not observed, and times (T,) that all series share. A
    batch is (values, mask, times, labels). Trained by Adam on the cross-entropy; `evaluations` of the field are logged
    beside loss and accuracy. Raises ValueError for a size below 1, a step or lr that is not positive, another
    interpolation, a method that `integrate` refuses, and in `predict` for series that `zoo._irregular` refuses.

    Source: P. Kidger, J. Morrill, J. Foster and T. Lyons, "Neural controlled differential equations for irregular time
    series", NeurIPS 2020, arXiv:2005.08926. Deliberate difference: a linear path and fixed steps by default, in place
    of the natural spline and dopri5, as the authors came to recommend.
    """

    vectorizes = True
    tiny: ClassVar[dict[str, Any]] = {"hidden_channels": 4, "width": 8}
    exceptions: ClassVar[dict[str, str]] = {"meta": "hundreds of small operations take longer there than with data"}

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        hidden_channels: int = 8,
        width: int = 128,
        layers: int = 1,
        interpolation: str = "linear",
        method: str = "rk4",
        step: float = 1.0,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        at_least(1, in_channels=in_channels, hidden_channels=hidden_channels, width=width, layers=layers)
        at_least(2, num_classes=num_classes)
        one_of(INTERPOLATIONS, interpolation=interpolation)
        positive(step=step, lr=lr)
        check([0.0, 1.0], method, min(step, 1.0))
        self.save_hyperparameters()
        self.interpolation, self.method, self.length, self.lr = interpolation, method, step, lr
        channels = in_channels + 1  # and time
        self.start = nn.Linear(channels, hidden_channels)
        self.field = MatrixField(hidden_channels, channels, width, layers)
        self.readout = nn.Linear(hidden_channels, num_classes)

    def forward(self, values: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        return self.readout(self._solved(values, mask, times).states[-1])

    def states(self, values: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """z at every knot of the path, (K + 1, N, hidden_channels)."""
        path = interpolate(values, mask, times, self.interpolation)
        return self._along(path, range(path.pieces + 1)).states

    def _solved(self, values: Tensor, mask: Tensor, times: Tensor) -> Solution:
        path = interpolate(values, mask, times, self.interpolation)
        return self._along(path, (0, path.pieces))

    def _along(self, path: Path, knots: Sequence[int]) -> Solution:
        step = min(self.length, float(knots[-1]))
        jumps = range(path.pieces)
        return integrate(partial(self._rate, path), self.start(path.value(0)), knots, self.method, step, jumps=jumps)

    def _rate(self, path: Path, s: Any, z: Tensor) -> Tensor:
        # products and a sum: for matrices this small, faster than a batch of matrix-vector products
        return (self.field(z) * path.derivative(s)[..., None, :]).sum(-1)

    def inputs(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return batch[:3]

    def complete(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        return completed(given, self.start.weight.dtype, self.hparams["in_channels"])

    def step(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        solution = self._solved(*self.inputs(batch))
        found = scores(self.readout(solution.states[-1]), batch[3])
        return found | {"evaluations": torch.full_like(found["loss"], solution.evaluations)}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)

"""GRUDeltaT: a recurrent classifier of irregular series, beside which what is driven by their path is shown."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import at_least, positive
from zoo._interpolation import interpolate
from zoo._irregular import completed
from zoo._module import ZooModule
from zoo._scores import scores


def gaps(seen: Tensor, times: Tensor) -> Tensor:
    """How long before each time anything was last observed, (N, T); the first time counts as if it was.

    d_0 = 0,   d_k = t_k - t_{k-1} + (d_{k-1} unless seen_{k-1}),   of increasing times and what was seen, (N, T)
    """
    last = torch.where(seen, times, times[:, :1]).cummax(1).values  # up to each time, that included
    return torch.cat([torch.zeros_like(times[:, :1]), times[:, 1:] - last[:, :-1]], 1)


class GRUDeltaT(ZooModule):
    """A gated recurrent unit that reads values and the time since the last ones, wherever anything was observed.

        u_k = (d_k, x_k)                                          x: gaps filled linearly;  d_k: see `gaps`
        r = s(W_r u_k + U_r h + b_r),   z = s(W_z u_k + U_z h + b_z)
        h <- (1 - z) tanh(W u_k + b + r (U h + c)) + z h,         h = 0 at first;   logits = B h + b

    with the sigmoid s and products of elements. It is told what `NeuralCDE` is told, by the knots of the same linear
    path, and nothing of what happens between them: a control. At times at which nothing was observed h stays what it
    is, so what a series is filled up with has no influence.

    `forward` maps values (N, T, C), mask (N, T, C) and times (N, T) to logits (N, num_classes);
    `predict(values, times=times)` takes NaN for what was not observed. A batch is (values, mask, times, labels).
    Trained by Adam on the cross-entropy. Raises ValueError for a size below 1, fewer than two classes, and an lr that
    is not positive.

    Source: P. Kidger, J. Morrill, J. Foster and T. Lyons, "Neural controlled differential equations for irregular time
    series", NeurIPS 2020, arXiv:2005.08926: their GRU-Δt, without the number of observations as a further input.
    Deliberate difference: gaps are filled linearly, and not by the natural spline.
    """

    vectorizes = True
    tiny: ClassVar[dict[str, Any]] = {"hidden_features": 4}
    exceptions: ClassVar[dict[str, str]] = {"meta": "hundreds of small operations take longer there than with data"}

    def __init__(self, in_channels: int, num_classes: int, hidden_features: int = 32, lr: float = 1e-3) -> None:
        super().__init__()
        at_least(1, in_channels=in_channels, hidden_features=hidden_features)
        at_least(2, num_classes=num_classes)
        positive(lr=lr)
        self.save_hyperparameters()
        self.lr = lr
        self.cell = nn.GRUCell(1 + in_channels, hidden_features)
        self.readout = nn.Linear(hidden_features, num_classes)

    def forward(self, values: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        path, seen = interpolate(values, mask, times), mask.any(-1)
        knots = torch.cat([path.coefficients[0], path.value(path.pieces)[None]]).movedim(0, 1)  # (N, T, 1 + C)
        read = torch.cat([gaps(seen, times)[..., None], knots[..., 1:]], -1)
        projected = F.linear(read, self.cell.weight_ih, self.cell.bias_ih)  # of all times at once
        h = values.new_zeros(values.shape[0], self.cell.hidden_size)
        for now, known in zip(projected.unbind(1), seen[..., None].unbind(1), strict=True):
            h = torch.where(known, self._next(now, h), h)
        return self.readout(h)

    def _next(self, projected: Tensor, h: Tensor) -> Tensor:
        """The state after one more observation: `nn.GRUCell`, whose fused kernels know no stacks of models."""
        own = F.linear(h, self.cell.weight_hh, self.cell.bias_hh)
        (a, b, c), (p, q, r) = projected.chunk(3, -1), own.chunk(3, -1)
        return torch.lerp(torch.tanh(c + torch.sigmoid(a + p) * r), h, torch.sigmoid(b + q))

    def inputs(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return batch[:3]

    def complete(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        return completed(given, next(self.parameters()).dtype, self.hparams["in_channels"])

    def step(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        return scores(self(*self.inputs(batch)), batch[3])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)

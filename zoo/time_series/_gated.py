"""What the recurrent classifiers of irregular series share: a gated unit that reads them from their start."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo._checks import at_least, positive
from zoo._irregular import completed
from zoo._module import ZooModule
from zoo._scores import scores
from zoo.differential.latent_ode import GatedUnit


class GatedClassifier(ZooModule):
    """h_k = GRU(u_k, g_k h_{k-1}), h_{-1} = 0, logits = B h + b: what u and the decay g are, a subclass says.

    At times at which nothing was observed h stays what it is, so what a series is filled up with has no influence.
    `forward` maps values (N, T, C), mask (N, T, C) and times (N, T) to logits (N, num_classes);
    `predict(values, times=times)` takes NaN for what was not observed. A batch is (values, mask, times, labels).
    Trained by Adam on the cross-entropy. Raises ValueError for a size below 1, fewer than two classes, and an lr that
    is not positive.
    """

    vectorizes = True
    tiny: ClassVar[dict[str, Any]] = {"hidden_features": 4}
    exceptions: ClassVar[dict[str, str]] = {"meta": "hundreds of small operations take longer there than with data"}

    def __init__(self, features: int, num_classes: int, hidden_features: int, lr: float) -> None:
        super().__init__()
        at_least(1, hidden_features=hidden_features)
        at_least(2, num_classes=num_classes)
        positive(lr=lr)
        self.lr = lr
        self.unit = GatedUnit(features, hidden_features)
        self.readout = nn.Linear(hidden_features, num_classes)

    def read(self, values: Tensor, mask: Tensor, times: Tensor) -> tuple[Tensor, Tensor | None]:
        """u, (N, T, features), and the decay, (N, T, hidden_features), or none where it is 1."""
        raise NotImplementedError(f"{type(self).__name__} says nothing of what it reads")

    def forward(self, values: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        u, decay = self.read(values, mask, times)
        h = torch.zeros_like(u[:, 0, :1]).expand(-1, self.readout.in_features)
        kept = [None] * u.shape[1] if decay is None else decay.unbind(1)
        for x, known, share in zip(u.unbind(1), mask.any(-1, keepdim=True).unbind(1), kept, strict=True):
            h = torch.where(known, self.unit(x, h if share is None else share * h), h)
        out: Tensor = self.readout(h)
        return out

    def inputs(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return batch[:3]

    def complete(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        return completed(given, self.readout.weight.dtype, self.hparams["in_channels"])

    def step(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        return scores(self(*self.inputs(batch)), batch[3])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def last_values(values: Tensor, mask: Tensor) -> Tensor:
    """The last observation of each channel up to each time, (N, T, C), and 0 before the first."""
    position = torch.arange(mask.shape[1], device=mask.device)[:, None]
    last = torch.where(mask, position, 0).cummax(1).values
    return torch.where(mask, values, 0.0).gather(1, last)

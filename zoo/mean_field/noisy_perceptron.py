"""The perceptron that is trained by SGD until it fits every point."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from zoo._checks import at_least, positive
from zoo._module import ZooModule
from zoo.mean_field._zero_loss import ZeroLoss


class NoisyPerceptron(ZooModule):
    """F(x) = w . x / sqrt(d), trained by SGD on the hinge loss until no training point has any.

        loss = mean relu(margin - y F(x)),   w <- w + (lr / B) sum_b 1[y_b F(x_b) < margin] y_b x_b / sqrt(d)

    from w = 0, with the B points (`minibatch`) of a step drawn anew, with replacement. The noise of such a step is
    that of a temperature T = lr / B. It makes the components w_perp that carry no information as large as T, and w_1
    has to outgrow them at the point nearest to the boundary: where noise rules, on data with density |x_1|^chi,

        |w| ~ T P^(1 / (1 + chi)),   t* = lr * steps ~ T P^(1 + 2 / (1 + chi))

    for P training points. Below a temperature T_c the margin rules in place of T.

    Shapes: x is (N, d), y is (N,) of ±1, F(x) is (N,). The training split comes as one batch; `training_step` makes
    P / B steps (at least one), and ends the training when the loss of the whole split is zero: t* is known to an
    epoch. Tested are |w|, w_1 (`signal`), |w_perp| (`noise`), t* (`training_time`) and the last `training_loss`.
    Raises ValueError for a size below 1 and for a step or a margin that is not positive.

    Source: A. Sclocchi, M. Geiger and M. Wyart, "Dissecting the Effects of SGD Noise in Distinct Regimes of Deep
    Learning", 2023, arXiv:2301.13703.
    """

    exceptions = {"gradients": "its updates are written out: the loss has a closed gradient"}

    def __init__(self, in_features: int, minibatch: int = 4, lr: float = 32.0, margin: float = 1.0) -> None:
        super().__init__()
        at_least(1, in_features=in_features, minibatch=minibatch)
        positive(lr=lr, margin=margin)
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.minibatch, self.lr, self.margin = minibatch, lr, margin
        self.w = nn.Parameter(torch.zeros(in_features))
        self.progress = ZeroLoss()

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.w / math.sqrt(len(self.w))

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        x, y = batch
        agreement = y * self(x)
        return {"loss": torch.relu(self.margin - agreement).mean(), "accuracy": (agreement > 0).float().mean()}

    @torch.no_grad()
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = batch
        signed = y[:, None] * x / math.sqrt(len(self.w))
        self.progress.epoch(self, batch, self.minibatch, lambda rows: self.descend(signed[rows]))

    def descend(self, points: Tensor) -> None:
        """One step on the points y x / sqrt(d), (B, d)."""
        unfitted = (torch.mv(points, self.w) < self.margin).to(points)
        self.w.addmv_(points.T, unfitted, alpha=self.lr / len(points))

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        w = {"weight_norm": self.w.norm(), "signal": self.w[0], "noise": self.w[1:].norm()}
        self.log_scalars("test", {**self.step(batch), **w, **self.progress.measures(self.lr)}, len(batch[0]))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return []

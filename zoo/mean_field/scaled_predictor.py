"""A network's change since its initialisation, scaled up: from feature learning to the lazy regime."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from zoo._checks import at_least, positive
from zoo._module import ZooModule
from zoo.mean_field._zero_loss import ZeroLoss


class ScaledPredictor(ZooModule):
    """F(x) = alpha (f(w, x) - f(w_0, x)) for a fully connected ReLU network f, trained until the hinge loss is zero.

        h_0 = x,   h_l = relu(sqrt(2 / n_{l-1}) W_l h_{l-1}),   f(w, x) = v . h_D / sqrt(n_D),   w_0 ~ N(0, 1)
        loss = mean relu(1 - y F(x)) / alpha^2,   SGD with step lr on minibatches of B samples, drawn with replacement

    The sign of F is the class. With the loss divided by alpha^2 the scaled change u = alpha (w - w_0) moves at a
    speed without alpha: for alpha >> 1 the network is linear in u (lazy), F = u . grad f(w_0, x), and the relative
    movement |w - w_0| / |w_0| falls as 1 / alpha; for alpha << 1 the weights have to move and features are learned.
    T = lr / B is the temperature of the noise.

    Shapes: x is (N, d), y is (N,) of ±1, F(x) is (N,). The training split comes as one batch; `training_step` makes
    P / B steps (at least one), and ends the training when the loss of the whole split is zero. Tested are `error` (of
    the sign), the relative `movement`, t* = lr * steps (`training_time`) and the last `training_loss`.
    Raises ValueError for a width or a minibatch below 1, and for alpha or lr that are not positive.

    The loss is divided by alpha^2 so that one step serves every alpha: temperatures are those of u, and alpha times
    those of a loss that is divided by alpha.

    Source: A. Sclocchi, M. Geiger and M. Wyart, "Dissecting the Effects of SGD Noise in Distinct Regimes of Deep
    Learning", 2023, arXiv:2301.13703.
    """

    exceptions = {"gradients": "it fits in a loop of its own, without an optimiser"}
    tiny = {"widths": [8, 8]}

    def __init__(
        self,
        in_features: int,
        widths: Sequence[int] = (128, 128),
        alpha: float = 100.0,
        minibatch: int = 64,
        lr: float = 8.0,
    ) -> None:
        super().__init__()
        at_least(1, in_features=in_features, minibatch=minibatch, widths=widths)
        positive(alpha=alpha, lr=lr)
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.alpha, self.minibatch, self.lr = alpha, minibatch, lr
        sizes = [in_features, *widths]
        shapes = [*((out, into) for into, out in pairwise(sizes)), (sizes[-1],)]
        self.weights = nn.ParameterList([torch.randn(shape) for shape in shapes])
        for layer, weight in enumerate(self.weights):  # the network at the start is a part of the predictor
            self.register_buffer(f"start_{layer}", weight.detach().clone())
        self.progress = ZeroLoss()

    @property
    def start(self) -> list[Tensor]:
        """w_0, layer by layer."""
        return [self.get_buffer(f"start_{layer}") for layer in range(len(self.weights))]

    def forward(self, x: Tensor) -> Tensor:
        return self.alpha * (network(list(self.weights), x) - network(self.start, x))

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        x, y = batch
        agreement = y * self(x)
        loss = torch.relu(1 - agreement).mean() / self.alpha**2
        return {"loss": loss, "error": (agreement <= 0).float().mean()}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = batch
        before = network(self.start, x)
        self.progress.epoch(self, batch, self.minibatch, lambda rows: self.descend(x[rows], y[rows], before[rows]))

    def descend(self, x: Tensor, y: Tensor, before: Tensor) -> None:
        """One step, with f(w_0, x) given."""
        weights = list(self.weights)
        change = self.alpha * (network(weights, x) - before)
        gradients = torch.autograd.grad(torch.relu(1 - y * change).mean() / self.alpha**2, weights)
        with torch.no_grad():
            torch._foreach_add_(weights, list(gradients), alpha=-self.lr)

    def movement(self) -> Tensor:
        """|w - w_0| / |w_0|."""
        change = torch.cat([(w - start).flatten() for w, start in zip(self.weights, self.start, strict=True)])
        return change.norm() / torch.cat([start.flatten() for start in self.start]).norm()

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        end = {"movement": self.movement(), **self.progress.measures(self.lr)}
        self.log_scalars("test", {**self.step(batch), **end}, len(batch[0]))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return []


def network(weights: Sequence[Tensor], x: Tensor) -> Tensor:
    """f(w, x) of the layers W_1, …, W_D, v."""
    for weight in weights[:-1]:
        x = torch.relu(math.sqrt(2 / x.shape[1]) * x @ weight.T)
    return x @ weights[-1] / math.sqrt(len(weights[-1]))

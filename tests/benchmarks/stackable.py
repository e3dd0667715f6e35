"""Small models and data for stacks: some that stack, and one for each reason not to."""

from __future__ import annotations

import random
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn

from datamodules import ArrayDataModule, Field, Spec
from datamodules._arrays import BatchLoader
from tests.benchmarks.shapes import Line
from zoo._module import ZooModule


class Cloud(ArrayDataModule):
    """Points of a seed's own, with a target that is infinite for one seed."""

    def __init__(self, size: int = 40, batch_size: int = 8, poisoned: int = -1, seed: int = 0) -> None:
        super().__init__(batch_size, seed)
        self.size, self.poisoned = size, poisoned

    @property
    def spec(self) -> Spec:
        return Spec((Field((2,)), Field()), {"in_features": 2}, dict.fromkeys(("train", "val", "test"), self.size), "1")

    def load(self, split: str) -> tuple[Tensor, ...]:
        x = torch.randn(self.size, 2, generator=torch.Generator().manual_seed(100 * self.seed + len(split)))
        y = x.prod(-1)
        return x, y / 0 if self.seed == self.poisoned else y


class Jittered(Line):
    """Points with an augmentation, so that batches cannot be picked for all seeds at once."""

    def transform(self, batch: tuple[Tensor, ...], generator: torch.Generator) -> tuple[Tensor, ...]:
        x, y = batch
        return x + 0.01 * torch.randn(x.shape, generator=generator), y


class Net(ZooModule):
    """A two-layer network with a scalar parameter, and a buffer of its own seed."""

    vectorizes = True
    initial = ("spread",)
    scale: Tensor

    def __init__(self, in_features: int, width: int = 6, spread: float = 1.0, lr: float = 0.05) -> None:
        super().__init__()
        if spread <= 0:
            raise ValueError(f"spread must be positive, got {spread}")
        self.save_hyperparameters()
        self.lr = lr
        self.inner, self.outer = nn.Linear(in_features, width), nn.Linear(width, 1)
        self.inner.weight.data *= spread
        self.offset = nn.Parameter(torch.zeros(()))
        self.register_buffer("scale", torch.rand(()) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.outer(torch.tanh(self.inner(x))).squeeze(-1) + self.offset

    def step(self, batch: Any) -> dict[str, Tensor]:
        error = self(batch[0]) - batch[1]
        return {"loss": error.square().mean(), "distance": error.abs().mean()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


class Tied(Net):
    """The same matrix in both layers."""

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features, width=in_features)
        self.save_hyperparameters()
        self.outer = nn.Linear(in_features, in_features)
        self.outer.weight = self.inner.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(torch.tanh(self.inner(x))).sum(-1) + self.offset


class Noting(pl.Callback):
    """Records the loss of every step and logs a number, and fails for the seed that it is told to."""

    per_replica = True

    def __init__(self, fails_for: int = -1) -> None:
        self.fails_for = fails_for

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        pl_module.record("loss", outputs["loss"])
        pl_module.record("mean", batch[0].mean())
        if trainer.datamodule.seed == self.fails_for and trainer.global_step == 3:
            raise RuntimeError("I do not like this seed")

    def on_test_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.log("test/first_loss", pl_module.recorded["loss"][0])


class Stopping(Noting):
    """Says that it only looks, and would end the training within an epoch."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        trainer.should_stop = True


class Steering(Noting):
    """Says that it only looks, but has a hook in the middle of a step."""

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pass


class Resting(Net):
    """Has a layer that is never in training mode."""

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features)
        self.save_hyperparameters()
        self.norm = nn.Dropout(0.5).eval()


class Partial(Net):
    """Trains its inner layer alone; the outer one has gradients too."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.inner.parameters(), lr=self.lr)


class Sensitive(Net):
    """Measures the gradient of its output with respect to the inputs when it is tested."""

    inference_mode = False

    def test_step(self, batch: Any, batch_idx: int) -> None:
        super().test_step(batch, batch_idx)
        with torch.enable_grad():
            x = batch[0].clone().requires_grad_()
            (slope,) = torch.autograd.grad(self(x).sum(), x)
        self.log("test/slope", slope.norm())


class Noisy(Net):
    """Draws random numbers of all kinds when it is tested."""

    def test_step(self, batch: Any, batch_idx: int) -> None:
        super().test_step(batch, batch_idx)
        self.log("test/noise", torch.randn(()) + np.random.rand() + random.random())


class Averaging(Net):
    """Keeps a moving average of its training loss, changed in place."""

    average: Tensor

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features)
        self.save_hyperparameters()
        self.register_buffer("average", torch.zeros(()))

    def step(self, batch: Any) -> dict[str, Tensor]:
        scalars = super().step(batch)
        if self.training:
            self.average.mul_(0.9).add_(0.1 * scalars["loss"].detach())
        return scalars


class Doubled(Cloud):
    """Serves the batches in a way of its own."""

    def loader(self, split: str) -> BatchLoader:
        plain = super().loader(split)
        return BatchLoader(lambda epoch, at: (2 * plain.batch(epoch, at)[0], plain.batch(epoch, at)[1]), len(plain))

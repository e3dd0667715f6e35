"""Models and data for Runs of several ranks: uneven shards, buffers, and failures of one rank alone."""

from __future__ import annotations

import os
import signal
import time
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from tests.benchmarks.shapes import Line, Linear
from tests.benchmarks.test_resume import Noted


class Uneven(Line):
    """A line whose held-out splits take one rank a batch more than the other, if nothing is done about it."""

    eval_batch_size: ClassVar[int] = 16


class Buffered(Linear):
    """A linear model with a buffer, which DDP sends to all ranks whenever the model is called in a training."""

    offset: Tensor

    def __init__(self, in_features: int, lr: float = 0.1) -> None:
        super().__init__(in_features, lr)
        self.save_hyperparameters()
        self.register_buffer("offset", torch.full((), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.offset


class Normed(Linear):
    """A linear model after a batch norm, whose running statistics are each rank's own."""

    def __init__(self, in_features: int, lr: float = 0.1) -> None:
        super().__init__(in_features, lr)
        self.save_hyperparameters()
        self.norm = nn.BatchNorm1d(in_features)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.norm(x))


class Half(Linear):
    """A model of which one part takes no part in the loss."""

    def __init__(self, in_features: int, lr: float = 0.1) -> None:
        super().__init__(in_features, lr)
        self.save_hyperparameters()
        self.idle = nn.Linear(in_features, 1)


class Failing(Linear):
    """Fails at its third batch, on one rank alone, in the way that `how` names."""

    def __init__(self, in_features: int, how: str, rank: int = 1) -> None:
        super().__init__(in_features)
        self.save_hyperparameters()
        self.how, self.rank = how, rank

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if batch_idx != 2 or self.global_rank != self.rank:
            return
        if self.how == "exception":
            raise RuntimeError("this rank always fails")
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "exit":
            os._exit(7)
        if self.how == "slow":
            time.sleep(600)


class PacedNoted(Noted):
    """Logs and records in every way that is kept, and takes its time."""

    def __init__(self, in_features: int, lr: float = 0.1, dropout: float = 0.3, pause: float = 0.01) -> None:
        super().__init__(in_features, lr, dropout)
        self.save_hyperparameters()
        self.pause = pause

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        time.sleep(self.pause)


class Alike(pl.Callback):
    """Ends the Run where a training leaves the ranks with different weights."""

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        own = torch.cat([parameter.detach().flatten() for parameter in pl_module.parameters()])
        every: list[Any] = [None] * trainer.world_size
        torch.distributed.all_gather_object(every, own)
        assert trainer.world_size > 1
        assert all(torch.equal(other, own) for other in every)

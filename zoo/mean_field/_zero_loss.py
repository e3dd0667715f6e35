"""Training by minibatch SGD until no sample has a loss: the epochs of models that step in a loop of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from zoo._module import ZooModule


class ZeroLoss(torch.nn.Module):
    """How far a training is: the steps so far, and the last look at the loss of all samples, as buffers."""

    steps: Tensor
    loss: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("loss", torch.full((), math.inf))

    def epoch(self, module: ZooModule, batch: Any, minibatch: int, descend: Callable[[Tensor], None]) -> None:
        """P / B steps (at least one) on samples drawn with replacement, then one look at the loss of all P of them.

        descend takes the numbers of a step's samples. Raises ValueError where the training split is several batches.
        """
        if self.ended(module):
            return
        size, device = len(batch[0]), batch[0].device
        drawn = torch.randint(size, (max(1, size // minibatch), minibatch), device=device)
        for rows in drawn:
            descend(rows)
        self.steps += len(drawn)
        with torch.no_grad():
            scalars = module.step(batch)
        self.loss.copy_(scalars["loss"])
        module.log_scalars("train", scalars, size)
        self.ended(module)

    def ended(self, module: ZooModule) -> bool:
        """Whether every sample is fitted, which ends the training, also where it goes on after it was interrupted."""
        if (batches := module.trainer.num_training_batches) != 1:
            raise ValueError(f"batch_size: the training split has to be one batch, got {batches}")
        module.trainer.should_stop = not self.loss > 0
        return module.trainer.should_stop

    def measures(self, lr: float) -> dict[str, Tensor]:
        """t* = lr * steps (`training_time`), and the last `training_loss`."""
        return {"training_time": lr * self.steps.to(self.loss), "training_loss": self.loss}

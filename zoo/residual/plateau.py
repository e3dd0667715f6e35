"""StopAtPlateau: a training that ends when its loss is small, or falls no more."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl

from zoo._checks import at_least, fraction, positive


class StopAtPlateau(pl.Callback):
    """Ends a training with the epoch whose mean training loss is below `target`, or is no gain for the last time.

    An epoch gains where its loss is below (1 - `gain`) times the least loss before it; the training ends with the
    `patience`-th epoch in a row that does not. In a stack each seed ends by itself.

    Raises ValueError for a target that is not positive, a gain outside (0, 1] and a patience below 1.

    Source: the recipe of Cohen, Cont, Rossier and Xu, "Scaling properties of deep residual networks", ICML 2021,
    arXiv:2105.12245, in the authors' code.
    """

    per_replica = True

    def __init__(self, target: float = 1e-3, patience: int = 5, gain: float = 0.01) -> None:
        positive(target=target)
        at_least(1, patience=patience)
        fraction(gain=gain)
        self.target, self.patience, self.gain = target, patience, gain
        self.least, self.waited = math.inf, 0

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loss = float(trainer.callback_metrics["train/loss"])
        self.waited = 0 if loss < (1 - self.gain) * self.least else self.waited + 1
        self.least = min(self.least, loss)
        if loss < self.target or self.waited >= self.patience:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {"least": self.least, "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.least, self.waited = state_dict["least"], state_dict["waited"]

"""How fast a training converges: the area under its validation curve."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl


class Convergence(pl.Callback):
    """Logs the validation loss averaged over all validations: of two trainings of one length, the faster has the lower.

        test/mean_val_loss   (1 / T) sum_t L_val(t),   t = 1 … T validations

    Unlike the time to a given loss it is smooth, and it has a value for trainings that never reach that loss.
    """

    per_replica = True

    def __init__(self) -> None:
        self.curve: list[float] = []

    def refusal(self, model: pl.LightningModule, data: Any) -> str:
        """Why there is no curve to follow; nothing where there is one."""
        return "" if data.spec.sizes.get("val") else f"{type(data).__name__} has no validation split"

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.curve.append(float(trainer.callback_metrics["val/loss"]))

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not self.curve:
            raise ValueError("nothing was validated: lower trainer.check_val_every_n_epoch, or train for longer")
        pl_module.log("test/mean_val_loss", sum(self.curve) / len(self.curve))

    def state_dict(self) -> dict[str, Any]:
        return {"curve": list(self.curve)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.curve = list(state_dict["curve"])

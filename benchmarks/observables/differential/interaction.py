"""What a network has learned of an interaction between predators and prey."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

SHOWN = 8  # trajectories that are recorded


class Interaction(pl.Callback):
    """Compares the learned interaction of a hybrid model with the law n = (-beta u v, gamma u v).

    At the end of the test, over all states y of the test's trajectories:

        test/beta, test/gamma   the coefficients of u v in n_1 and n_2, by least squares
        test/unexplained        sum ||n - (-beta u v, gamma u v)||^2 / sum ||n||^2 with the coefficients found
        test/field_error        the relative error of the whole field, ||f - f*|| / ||f*||, root of mean squares

    and records `states` and `solved`, true and solved trajectories (N, T, 2). For models that have `interaction` and
    `solve`, and data that know their `velocity`.
    """

    per_replica = True

    def refusal(self, model: Any, data: Any) -> str:
        """Why there is no interaction to compare; nothing where there is one."""
        if not (hasattr(model, "interaction") and hasattr(model, "solve")):
            return f"{type(model).__name__} has no interaction that is learned"
        return "" if hasattr(data, "velocity") else f"{type(data).__name__} does not know its velocities"

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        (states,) = data.tensors("test")
        flat = states.flatten(0, 1)
        for name, value in comparison(pl_module, data, flat).items():
            pl_module.log(f"test/{name}", value.float())
        shown = states[:SHOWN]
        pl_module.record("states", shown)
        pl_module.record("solved", pl_module.solve(shown[:, 0], states.shape[1] - 1))


def comparison(model: Any, data: Any, states: Tensor) -> dict[str, Tensor]:
    """The scalars above, of states (N, 2)."""
    learned = model.interaction(states).double()
    product = states.double().prod(-1)
    coefficients = (learned * product[:, None]).sum(0) / product.square().sum()
    rest = learned - product[:, None] * coefficients
    true = data.velocity(states.double())
    error = (model(states).double() - true).square().sum() / true.square().sum()
    return {
        "beta": -coefficients[0],
        "gamma": coefficients[1],
        "unexplained": rest.square().sum() / learned.square().sum(),
        "field_error": error.sqrt(),
    }

"""Whether a law in closed form is the one that made the data."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

CLOSE = 1e-9  # of a multiple: rounding in double precision, and no more


class PlantedLaw(pl.Callback):
    """Compares expressions e_1, e_2 for the interaction of predators and prey with -beta u v and gamma u v.

    At the end of the test:

        test/recovered           the share of the expressions that are a multiple of u v, not 0, whatever their form
        test/beta, test/gamma    the multiples
        test/trajectory_error    root mean squared error of the test's trajectories, solved by the expressions
        test/network_error       the same, solved by the network that they were found from
        test/error_ratio         the former over the latter

    and records `states` and `solved` as the network's own benchmark does. For models with `laws`, a `network` and
    `solve`, and data that know their `velocity`.
    """

    def refusal(self, model: Any, data: Any) -> str:
        """Why there is no law to compare; nothing where there is one."""
        if not (hasattr(model, "laws") and hasattr(model, "network")):
            return f"{type(model).__name__} has no law in closed form"
        return "" if hasattr(data, "velocity") else f"{type(data).__name__} does not know its velocities"

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        (states,) = data.tensors("test")
        ratios = multiples(pl_module, states.flatten(0, 1))
        size = ratios.abs().amax(0)
        recovered = (size > 0) & (ratios.std(0) <= CLOSE * size)
        start, count = states[:, 0], states.shape[1] - 1
        solved, learned = pl_module.solve(start, count), pl_module.network.solve(start, count)
        error, other = ((found - states).square().mean().sqrt() for found in (solved, learned))
        scalars = {
            "recovered": recovered.float().mean(),
            "beta": -ratios[:, 0].median(),
            "gamma": ratios[:, 1].median(),
            "trajectory_error": error,
            "network_error": other,
            "error_ratio": error / other,
        }
        for name, value in scalars.items():
            pl_module.log(f"test/{name}", value.float())
        pl_module.record("states", states[:8])
        pl_module.record("solved", solved[:8])


def multiples(model: Any, states: Tensor) -> Tensor:
    """Each expression divided by u v, at states (N, 2), in double precision: (N, 2)."""
    y = states.double()
    return torch.stack([law.value(y) for law in model.laws], -1) / y.prod(-1, keepdim=True)

"""How well a model of irregular series knows what was seen with noise, what was not seen, and what comes after."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

SHOWN = 8  # test series that are recorded
FINER = 4  # as many times are asked for when it is looked at what this changes


class Forecasts(pl.Callback):
    """Compares what a model makes of each test series with the truth without noise, as roots of mean squared errors.

        test/reconstruction   of the values that were observed
        test/interpolation    of those that were not, up to the last time at which anything was observed
        test/extrapolation    of those after it
        test/refined          of these again, where the model is also asked for three times between any two
        test/refinement       the difference that this makes to them

    and records, for the first test series, `values`, `mask`, `times`, `truth`, and `forecasts` of the model and those
    at `refined_times` (`refined`). For models that `decode` series, and data modules that have a `truth`.
    """

    per_replica = True

    def refusal(self, model: pl.LightningModule, data: Any) -> str:
        """Why there is nothing to compare; nothing where there is."""
        if not hasattr(model, "decode"):
            return f"{type(model).__name__} makes no series"
        return "" if hasattr(data, "truth") else f"{type(data).__name__} does not know its truth"

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        values, mask, times, *_ = data.tensors("test")
        truth, finer = data.truth("test").to(values), refined(values, mask, times)
        forecasts, more = pl_module(values, mask, times), pl_module(*finer)
        again = more[:, ::FINER]
        found = errors(forecasts - truth, mask)
        found["refined"] = errors(again - truth, mask)["extrapolation"]
        found["refinement"] = errors(again - forecasts, mask)["extrapolation"]
        for name, value in found.items():
            pl_module.log(f"test/{name}", value)
        arrays = {"values": values, "mask": mask, "times": times, "truth": truth, "forecasts": forecasts}
        for name, array in {**arrays, "refined_times": finer[2], "refined": more}.items():
            pl_module.record(name, array[:SHOWN])


def errors(differences: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """The first three of the errors above, of differences and the mask of what was observed, (N, T, C) each."""
    seen_later = mask.any(-1).flip(1).cummax(1).values.flip(1)[..., None]  # at this time or after it
    parts = {"reconstruction": mask, "interpolation": ~mask & seen_later, "extrapolation": ~(mask | seen_later)}
    return {name: differences[part.expand_as(mask)].square().mean().sqrt() for name, part in parts.items()}


def refined(values: Tensor, mask: Tensor, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same series with FINER - 1 more equidistant times between any two, at which nothing was observed."""
    count = FINER * (times.shape[1] - 1) + 1
    parts = torch.arange(FINER, device=times.device) / FINER
    between = times[:, :-1, None] + times.diff(dim=1)[..., None] * parts
    spread = [torch.zeros_like(a[:, :1]).repeat(1, count, 1) for a in (values, mask)]
    for wide, own in zip(spread, (values, mask), strict=True):
        wide[:, ::FINER] = own
    return spread[0], spread[1], torch.cat([between.flatten(1), times[:, -1:]], 1)

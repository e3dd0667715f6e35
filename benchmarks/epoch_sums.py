"""The sums behind an epoch's averages, which Lightning does not keep in its checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.trainer.connectors.logger_connector.result import _Metadata, _ResultMetric, _Sync
from torchmetrics import Metric

REDUCTIONS = {"mean": torch.mean, "sum": torch.sum, "max": torch.max, "min": torch.min}
PLAIN = ("fx", "name", "prog_bar", "logger", "on_step", "on_epoch", "enable_graph", "add_dataloader_idx")


class EpochSums:
    """Takes the sums of a half-done epoch out of a trainer, and adds them to those of its other half.

    Covers every scalar that is logged over the epoch with a mean, sum, maximum or minimum, and the states of the
    torchmetrics objects in the module.
    """

    def __init__(self) -> None:
        self.pending: dict[str, dict[str, Any]] = {}

    @staticmethod
    def of(trainer: pl.Trainer) -> dict[str, Any]:
        """The state of the running epoch as plain data and tensors."""
        results = trainer.fit_loop.epoch_loop._results
        return {
            "scalars": {key: _state(metric) for key, metric in results.items() if _is_summed(metric)},
            "metrics": {name: _copied(metric) for name, metric in _metrics(trainer.lightning_module)},
        }

    def load(self, trainer: pl.Trainer, state: dict[str, Any]) -> None:
        """Brings torchmetrics objects back at once; scalars wait until the epoch's first new batch has been logged.

        Lightning clears what stands there when the first batch of a loop is logged.
        """
        self.pending = state.get("scalars", {})
        for name, metric in _metrics(trainer.lightning_module):
            if saved := state.get("metrics", {}).get(name):
                for key, value in saved["state"].items():
                    setattr(metric, key, value)
                metric._update_count, metric._computed = saved["updates"], None
                metric.to(trainer.strategy.root_device)

    def merge(self, trainer: pl.Trainer) -> None:
        """Adds the first half's sums, in the order in which an uninterrupted epoch would have added them."""
        pending, self.pending = self.pending, {}
        results = trainer.fit_loop.epoch_loop._results
        for key, state in pending.items():
            if key not in results:
                results[key] = _empty(trainer, state)
            metric = results[key].to(trainer.strategy.root_device)
            before = state["value"].to(metric.value)
            reduce = REDUCTIONS[state["reduction"]]
            metric.value = (
                before + metric.value
                if state["reduction"] in ("mean", "sum")
                else reduce(  # type: ignore[operator]
                    before, metric.value
                )
            )
            if "batch_size" in state:
                metric.cumulated_batch_size = metric.cumulated_batch_size + state["batch_size"].to(metric.value.device)
            metric._computed, metric._update_count, metric.has_reset = None, metric._update_count + 1, False


def _is_summed(metric: _ResultMetric) -> bool:
    return metric.is_tensor and metric.meta.on_epoch and not metric.has_reset and _reduction(metric) is not None


def _reduction(metric: _ResultMetric) -> str | None:
    meta = metric.meta
    flags = (meta.is_mean_reduction, meta.is_sum_reduction, meta.is_max_reduction, meta.is_min_reduction)
    return next((name for name, flag in zip(REDUCTIONS, flags, strict=True) if flag), None)


def _state(metric: _ResultMetric) -> dict[str, Any]:
    state = {"value": metric.value.detach().clone(), "reduction": _reduction(metric), "sync": metric.meta.sync.should}
    if metric.meta.is_mean_reduction:
        state["batch_size"] = metric.cumulated_batch_size.clone()
    return state | {"meta": {name: getattr(metric.meta, name) for name in PLAIN}}


def _empty(trainer: pl.Trainer, state: dict[str, Any]) -> _ResultMetric:
    """A scalar that the first half of the epoch logged and the second has not yet."""
    meta = _Metadata(**state["meta"], reduce_fx=REDUCTIONS[state["reduction"]])  # type: ignore[arg-type]
    meta.sync = _Sync(_should=state["sync"], fn=trainer.strategy.reduce)
    empty = _ResultMetric(meta, is_tensor=True)
    empty.value = empty.value.to(state["value"].dtype)  # double where the training is
    return empty


def _metrics(module: pl.LightningModule) -> Iterator[tuple[str, Metric]]:
    return ((name, part) for name, part in module.named_modules() if isinstance(part, Metric))


def _copied(metric: Metric) -> dict[str, Any]:
    return {"state": metric._copy_state_dict(), "updates": metric._update_count}

"""The rank of what a training added to a model's weight matrices."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from benchmarks.observables.steps import stepped
from zoo.sparse.relora import layers_of


class UpdateRank(pl.Callback):
    """Measures the update W_T - W_0 of weight matrices, where W_0 are the weights after `since` steps.

    Layers are chosen as by ReLoRA: all linear ones but the last, or by a pattern over their names; of a convolution the
    matrix is (out, in k k). Weights that a parametrisation makes are taken as they act. At the end it records for each
    layer `update/NAME`, the singular values of the update, and logs

        test/update_rank        the numerical rank of the update, averaged over the layers
        test/update_rank_most   the greatest of these ranks

    A singular value counts where it exceeds max(m, n) eps (||W_T|| + ||W_0||) in spectral norms, with eps of the
    weights' precision: what rounding W_T and W_0 leaves in their difference is below that. A model that was not trained
    for `since` steps has no update, and nothing is logged.

    Raises ValueError for since < 0; a pattern without layers is refused before anything starts.
    """

    per_replica = True

    def __init__(self, layers: str | None = None, since: int = 0) -> None:
        if since < 0:
            raise ValueError(f"since must be at least 0, got {since}")
        self.layers, self.since = layers, since
        self.start: dict[str, Tensor] = {}

    def refusal(self, model: pl.LightningModule, data: pl.LightningDataModule) -> str:
        """Why this model has no such update; nothing where it has."""
        try:
            layers_of(model, self.layers)
        except ValueError as error:
            return str(error)
        return ""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step == self.since == 0:
            self.start = self._weights(pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if stepped(trainer, batch_idx) and trainer.global_step == self.since:
            self.start = self._weights(pl_module)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        ranks = []
        for name, weight in self._weights(pl_module).items() if self.start else ():
            values, rank = update(weight, self.start[name].to(weight))
            pl_module.record(f"update/{name}", values)
            ranks.append(float(rank))
        if ranks:
            pl_module.log("test/update_rank", sum(ranks) / len(ranks))
            pl_module.log("test/update_rank_most", max(ranks))

    def _weights(self, module: pl.LightningModule) -> dict[str, Tensor]:
        layers = layers_of(module, self.layers)
        return {name: layer.weight.detach().flatten(1).clone() for name, layer in layers.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"start": self.start}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.start = state_dict["start"]


def update(end: Tensor, start: Tensor) -> tuple[Tensor, int]:
    """The singular values of end - start, greatest first in float64, and how many of them are more than rounding."""
    eps, end, start = torch.finfo(end.dtype).eps, end.double(), start.double()
    values = torch.linalg.svdvals(end - start)
    norms = float(torch.linalg.matrix_norm(end, 2) + torch.linalg.matrix_norm(start, 2))
    return values, int((values > max(end.shape) * eps * norms).sum())

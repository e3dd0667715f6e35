"""Embeddings of the nodes of a tree, kept for a picture."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch

PLANE = 2


class TreeEmbedding(pl.Callback):
    """Records where the nodes of a tree lie, `points` (n, 2), and its `branches` (2, n - 1), where that is a plane.

    A point of the hyperboloid is recorded as that of the ball: x / (1 + sqrt(c) x_0). For models that embed nodes, of
    data with branches.
    """

    def refusal(self, model: pl.LightningModule, data: Any) -> str:
        """Why there is nothing to record; nothing where there is."""
        if not hasattr(data, "branches"):
            return f"{type(data).__name__} is no tree: it has no branches"
        return "" if hasattr(model, "link_logits") else f"{type(model).__name__} embeds no nodes"

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        points = pl_module(*pl_module.inputs(data.tensors("test")))[0]
        coordinates = pl_module.space.coordinates(points)
        if coordinates.shape[1] == PLANE:
            if coordinates.shape != points.shape:
                coordinates = coordinates / (1 + pl_module.space.root * points[:, :1])
            pl_module.record("points", coordinates.float())
            pl_module.record("branches", data.branches)

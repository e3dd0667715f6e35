"""Every method of pruning with settings for a short training: what all of them promise is tested for each alike."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from datamodules import ArrayDataModule, Field, Spec

#: By class name: arguments under which the method changes masks within 18 steps.
METHODS: dict[str, dict[str, Any]] = {
    "GraSP": {"density": 0.3},
    "GradualMagnitude": {"density": 0.3, "every": 2},
    "Magnitude": {"density": 0.3, "at": 0.5},
    "NToM": {"n": 2, "m": 4},
    "RandomPruning": {"density": 0.3, "distribution": "snip"},
    "RigL": {"density": 0.3, "every": 4},
    "SET": {"density": 0.3, "every": 4},
    "SNIP": {"density": 0.3},
    "SynFlow": {"density": 0.3, "rounds": 5},
}


class Blobs(ArrayDataModule):
    """Three Gaussian classes of 48 samples in all: six batches an epoch."""

    seeded = False

    def __init__(self, size: int = 48, features: int = 12, batch_size: int = 8, seed: int = 0) -> None:
        super().__init__(batch_size, seed)
        self.size, self.features = size, features

    @property
    def spec(self) -> Spec:
        fields = (Field((self.features,)), Field((), torch.int64, classes=3))
        arguments = {"in_features": self.features, "num_classes": 3}
        return Spec(fields, arguments, dict.fromkeys(("train", "val", "test"), self.size), "1")

    def load(self, split: str) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(("train", "val", "test").index(split))
        labels = torch.arange(self.size) % 3
        centres = torch.eye(3, self.features) * 2
        return centres[labels] + torch.randn(self.size, self.features, generator=generator), labels


def config(method: str, **entries: Any) -> dict[str, Any]:
    """Three epochs of six batches of a small network with momentum and weight decay, pruned by a method."""
    return {
        "data": {"class_path": "tests.sparse.methods.Blobs", "init_args": {"seed": 3}},
        "model": {
            "class_path": "zoo.sparse.FullyConnected",
            "init_args": {"in_features": 12, "num_classes": 3, "widths": (16, 8), "weight_decay": 0.01},
        },
        "fit": True,
        "callbacks": [{"class_path": f"zoo.sparse.{method}", "init_args": METHODS[method]}],
        "trainer": {"max_epochs": 3, "log_every_n_steps": 1},
        **entries,
    }


class Watch(pl.Callback):
    """Notes the share of weights that is there, after every step, and whatever is not zero where it has to be."""

    def __init__(self) -> None:
        self.densities: list[float] = []
        self.awake: list[str] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        from zoo.sparse._masks import Masked

        masked = Masked(pl_module)
        self.densities.append(masked.density)
        for name, weight in masked.weights.items():
            gone = ~masked.masks[name]
            kept = [k for o in trainer.optimizers for k in o.state.get(weight, {}).values() if isinstance(k, Tensor)]
            if weight[gone].any() or any(k[gone].any() for k in kept if k.shape == weight.shape):
                self.awake.append(f"{name} at step {trainer.global_step}")

"""A small SDE-GAN, its batches and its training, for several tests."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules import ForcedOrnsteinUhlenbeck
from zoo.stochastic import SDEGAN

N, T = 6, 9
Batch = tuple[Tensor, ...]


def made(**hyperparameters: Any) -> SDEGAN:
    torch.manual_seed(0)
    small = {"start_features": 3, "noise_channels": 2, "hidden_features": 4, "width": 5}
    return SDEGAN(**({"channels": 1, "length": T, **small} | hyperparameters)).double()


def batch(size: int = N, seed: int = 1) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    shapes = ((size, T, 1), (size, 3), (size, T - 1, 2))
    paths, start, normals = (torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes)
    return paths.cumsum(1), start, normals


def data(**sizes: int) -> ForcedOrnsteinUhlenbeck:
    given = {"length": T, "start_features": 3, "noise_channels": 2, "train_size": 64, "val_size": 64, "test_size": 64}
    return ForcedOrnsteinUhlenbeck(**(given | {"batch_size": 16} | sizes))


class Weights(pl.Callback):
    """Keeps the generator's weights, the rates and the loss after every step, and looks at the critic's bounds."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []
        self.losses: list[float] = []
        self.kept: list[list[Tensor]] = []
        self.steepest: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])
        self.losses.append(float(outputs["loss"]))
        self.kept.append([parameter.detach().clone() for parameter in pl_module.generator.parameters()])
        linear = [part for part in pl_module.critic.modules() if isinstance(part, torch.nn.Linear)]
        self.steepest.append(max(float(part.weight.detach().abs().max()) * part.out_features for part in linear))


def fit(model: SDEGAN, source: Any, *callbacks: pl.Callback, epochs: int = 1) -> None:
    """Trains on a data module, or on a list of batches."""
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    settings = {"accelerator": "cpu", "limit_val_batches": 0, "enable_checkpointing": False, **quiet}
    given: dict[str, Any] = {"datamodule": source}
    if isinstance(source, list):
        loader: Any = DataLoader(source, batch_size=None)  # type: ignore[arg-type]
        given = {"train_dataloaders": loader, "val_dataloaders": loader}
    pl.Trainer(max_epochs=epochs, callbacks=list(callbacks), **settings).fit(model, **given)


def trained(**hyperparameters: Any) -> tuple[SDEGAN, Weights]:
    model, weights = made(**hyperparameters).float(), Weights()
    fit(model, data(), weights, epochs=2)
    return model, weights

"""What the review's networks share: Keras' defaults in torch's terms, one head and the recipes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

EPS = 1e-7  # of Keras' optimisers; torch's own defaults are 1e-8 (Adam) and 1e-6 (Adadelta)


class SameConv1d(nn.Conv1d):
    """A convolution of stride 1 whose output is as long as its input.

    Of the k - 1 zeros, (k - 1) // 2 stand before the series and the rest after it, as in Keras. torch's
    padding="same" has the same values but warns of a copy when k is even.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size)
        self.margins = ((kernel_size - 1) // 2, kernel_size // 2)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(F.pad(input, self.margins))


def batch_norm(channels: int, momentum: float) -> nn.BatchNorm1d:
    """Batch normalisation with Keras' epsilon; momentum is the weight of the newest batch."""
    return nn.BatchNorm1d(channels, eps=1e-3, momentum=momentum)


def convolution(in_channels: int, out_channels: int, kernel_size: int, momentum: float) -> nn.Sequential:
    """Convolution and batch normalisation, (N, in_channels, T) -> (N, out_channels, T)."""
    return nn.Sequential(SameConv1d(in_channels, out_channels, kernel_size), batch_norm(out_channels, momentum))


def initialise(module: nn.Module) -> None:
    """Keras' default initialisation: Glorot-uniform weights and zero biases."""
    if isinstance(module, nn.Linear | nn.Conv1d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def require(least: int, **arguments: int) -> None:
    """Raises ValueError naming the first argument below `least`."""
    for name, value in arguments.items():
        if value < least:
            raise ValueError(
                f"{name} must be at least {least}, got {value}; a configuration that leaves it out gets the data's"
            )


def require_momentum(batchnorm_momentum: float) -> None:
    """Raises ValueError unless the newest batch has a weight in (0, 1]."""
    if not 0 < batchnorm_momentum <= 1:
        raise ValueError(
            f"batchnorm_momentum must lie in (0, 1], got {batchnorm_momentum}; it is the weight of the newest batch "
            "in the running statistics (one minus Keras' momentum): 0.01 in the paper, 0.1 for a short training"
        )


class TimeAverage(nn.Module):
    """A linear classifier of the time average of features A, which map (N, C, T) to (N, K, T).

    logits = V mean_t A(t) + c
    """

    def __init__(self, features: nn.Module, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.features = features
        self.classifier = nn.Linear(num_features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean(-1))

    def class_activation(self, x: Tensor) -> Tensor:
        """M_c(t) = sum_k V_ck A_k(t), of shape (N, num_classes, T)."""
        return torch.einsum("ck,nkt->nct", self.classifier.weight, self.features(x))


def adam(parameters: Iterable[nn.Parameter]) -> OptimizerLRSchedulerConfig:
    """The convolutional networks' recipe: Adam at 0.001, halved after 50 epochs without progress, down to 0.0001."""
    return halve_on_plateau(torch.optim.Adam(parameters, lr=1e-3, eps=EPS), patience=50, min_lr=1e-4)


def halve_on_plateau(optimizer: Optimizer, patience: int, min_lr: float) -> OptimizerLRSchedulerConfig:
    """Keras' ReduceLROnPlateau on the epoch's training loss, with factor 1/2.

    Keras reduces at the end of the epoch that is the `patience`-th without an improvement of more than 1e-4;
    torch at the one after, and it measures improvements relative to the best loss unless told otherwise.
    """
    scheduler = ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience - 1, threshold=1e-4, threshold_mode="abs", min_lr=min_lr
    )
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": scheduler, "monitor": "train/loss", "interval": "epoch"},
    }

"""Multi-layer perceptron for time series: every point of the series is a feature."""

from __future__ import annotations

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from zoo._module import ZooModule
from zoo._scores import scores
from zoo.time_series._keras import EPS, halve_on_plateau, initialise, require


class MLP(ZooModule):
    """Three hidden layers of 500 on the flattened series.

        h_0 = flatten(x)
        h_i = ReLU(W_i drop(h_{i-1}; p_i) + b_i),   i = 1, 2, 3,   p = 0.1, 0.2, 0.2
        logits = W_4 drop(h_3; 0.3) + b_4

    Time is not special to it: a fixed permutation of the time points changes nothing but the order of the first
    layer's weights, and only series of the one length fit.

    in_channels, length: channels C and time points T of a series.
    num_classes: number of logits.
    Input (N, C, T), output (N, num_classes). A value too small to make sense raises ValueError.

    Its recipe: cross-entropy; Adadelta (lr 1.0, rho 0.95, eps 1e-7), halved after 200 epochs without progress of
    the training loss, down to 0.1; 5000 epochs, batches of int(min(N_train / 10, 16)); the weights of the epoch
    of lowest training loss are tested.

    Differences from the paper: the learning rate 1.0 is the one that Keras' Adadelta had by default at the time
    (the later default of 0.001 lies below the schedule's own minimum); the softmax is part of the loss.

    Source: Ismail Fawaz, Forestier, Weber, Idoumghar and Muller, "Deep learning for time series classification: a
    review", 2019 (arXiv 1809.04356), after Wang, Yan and Oates, "Time series classification from scratch with deep
    neural networks: a strong baseline", 2017 (arXiv 1611.06455).
    """

    def __init__(self, in_channels: int, length: int, num_classes: int) -> None:
        super().__init__()
        require(1, in_channels=in_channels, length=length)
        require(2, num_classes=num_classes)
        self.save_hyperparameters()
        self.hidden = nn.Sequential(
            nn.Flatten(),
            *(nn.Dropout(0.1), nn.Linear(in_channels * length, 500), nn.ReLU()),
            *(nn.Dropout(0.2), nn.Linear(500, 500), nn.ReLU()),
            *(nn.Dropout(0.2), nn.Linear(500, 500), nn.ReLU()),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.3), nn.Linear(500, num_classes))
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.hidden(x))

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        series, labels = batch
        return scores(self(series), labels)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = torch.optim.Adadelta(self.parameters(), lr=1.0, rho=0.95, eps=EPS)
        return halve_on_plateau(optimizer, patience=200, min_lr=0.1)

"""Residual network for time series: three residual blocks of three convolutions and an average over time."""

from __future__ import annotations

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from zoo._module import ZooModule
from zoo._scores import scores
from zoo.time_series._keras import (
    TimeAverage,
    adam,
    batch_norm,
    convolution,
    initialise,
    require,
    require_momentum,
)


class _Block(nn.Module):
    """ReLU(F(x) + S(x)): F three convolutions of lengths 8, 5 and 3, S the shortcut; (N, K, T) -> (N, K', T)."""

    def __init__(self, in_channels: int, out_channels: int, momentum: float, project: bool) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *(convolution(in_channels, out_channels, 8, momentum), nn.ReLU()),
            *(convolution(out_channels, out_channels, 5, momentum), nn.ReLU()),
            convolution(out_channels, out_channels, 3, momentum),
        )
        self.shortcut = (
            convolution(in_channels, out_channels, 1, momentum) if project else batch_norm(out_channels, momentum)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.residual(x) + self.shortcut(x))


class ResNet1d(ZooModule):
    """Three residual blocks of 64, 128 and 128 filters, averaged over time.

        A_i = ReLU(F_i(A_{i-1}) + S_i(A_{i-1})),   A_0 = x,   i = 1, 2, 3
        F_i = BN conv_3 ReLU BN conv_5 ReLU BN conv_8
        logits = V mean_t A_3(t) + c

    The shortcuts S_1 and S_2 are convolutions of length 1 with batch normalisation, S_3 is batch normalisation
    alone. Everything is padded to the length of x; series of any length may be classified.

    in_channels: channels C of a series.
    num_classes: number of logits.
    batchnorm_momentum: weight of the newest batch in the running statistics (torch's convention). The paper's 0.01
        needs several hundred steps before the statistics mean anything: evaluated earlier, the network guesses.
    Input (N, C, T), output (N, num_classes). A value that makes no sense raises ValueError.

    Its recipe: cross-entropy; Adam (lr 0.001, eps 1e-7), halved after 50 epochs without progress of the training
    loss, down to 0.0001; 1500 epochs, batches of int(min(N_train / 10, 64)); the weights of the epoch of lowest
    training loss are tested.

    Differences from the paper: torch adds Adam's eps after the bias correction, Keras before it; torch's running
    variance is the unbiased one; the softmax is part of the loss.

    Source: Ismail Fawaz, Forestier, Weber, Idoumghar and Muller, "Deep learning for time series classification: a
    review", 2019 (arXiv 1809.04356), after Wang, Yan and Oates, "Time series classification from scratch with deep
    neural networks: a strong baseline", 2017 (arXiv 1611.06455).
    """

    def __init__(self, in_channels: int, num_classes: int, batchnorm_momentum: float = 0.01) -> None:
        super().__init__()
        require(1, in_channels=in_channels)
        require(2, num_classes=num_classes)
        require_momentum(batchnorm_momentum)
        self.save_hyperparameters()
        features = nn.Sequential(
            _Block(in_channels, 64, batchnorm_momentum, project=True),
            _Block(64, 128, batchnorm_momentum, project=True),
            _Block(128, 128, batchnorm_momentum, project=False),
        )
        self.network = TimeAverage(features, 128, num_classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)

    def class_activation(self, x: Tensor) -> Tensor:
        """What each time point contributes to each class: (N, C, T) -> (N, num_classes, T).

        Its mean over time plus the classifier's bias is the logit.
        """
        return self.network.class_activation(x)

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        series, labels = batch
        return scores(self(series), labels)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return adam(self.parameters())

"""Fully convolutional network for time series: three convolutions and an average over time."""

from __future__ import annotations

from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from zoo._module import ZooModule
from zoo._scores import scores
from zoo.time_series._keras import TimeAverage, adam, convolution, initialise, require, require_momentum


class FCN(ZooModule):
    """Three convolutions with batch normalisation, averaged over time.

        A_i = ReLU(BN(W_i * A_{i-1} + b_i)),   A_0 = x,   i = 1, 2, 3
        logits = V mean_t A_3(t) + c

    with 128, 256 and 128 filters of lengths 8, 5 and 3, padded so that every A_i is as long as x. The number of
    parameters does not depend on the length, and series of any length may be classified.

    in_channels: channels C of a series.
    num_classes: number of logits.
    batchnorm_momentum: weight of the newest batch in the running statistics (torch's convention). The paper's 0.01
        needs several hundred steps before the statistics mean anything: evaluated earlier, the network guesses.
    Input (N, C, T), output (N, num_classes). A value that makes no sense raises ValueError.

    Its recipe: cross-entropy; Adam (lr 0.001, eps 1e-7), halved after 50 epochs without progress of the training
    loss, down to 0.0001; 2000 epochs, batches of int(min(N_train / 10, 16)); the weights of the epoch of lowest
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
            *(convolution(in_channels, 128, 8, batchnorm_momentum), nn.ReLU()),
            *(convolution(128, 256, 5, batchnorm_momentum), nn.ReLU()),
            *(convolution(256, 128, 3, batchnorm_momentum), nn.ReLU()),
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

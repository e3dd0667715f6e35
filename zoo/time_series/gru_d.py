"""GRUD: a recurrent classifier of irregular series whose inputs and state decay while nothing is observed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo._checks import at_least, positive
from zoo.differential.gru_delta_t import gaps
from zoo.time_series._gated import GatedClassifier, last_values


class GRUD(GatedClassifier):
    """A gated recurrent unit with trainable decays: what was observed long ago counts for less.

        d_k      the time since the observation before t_k, of each channel, in units of `horizon`
        x_k      what was observed, and exp(-max(0, w d_k + b)) times the last value where nothing was
        u_k      (x_k, mask_k)
        h_k      GRU(u_k, exp(-max(0, W d_k + c)) h_{k-1})

    at each time at which anything was observed; w and b are vectors, one number a channel, and values decay to 0, the
    mean of standardised channels. Before the first observation of a channel its d counts from the first time, and its
    last value is 0. Shapes, batches and errors are those of `zoo.time_series._gated.GatedClassifier`; raises ValueError
    for a horizon that is not positive, too.

    Source: Z. Che, S. Purushotham, K. Cho, D. Sontag and Y. Liu, "Recurrent neural networks for multivariate time
    series with missing values", Scientific Reports 8, 2018, arXiv:1606.01865. Deliberate differences: neither dropout
    nor batch normalisation; torch's form of the unit, in which r multiplies U h and not h; w starts at 0.1,
    and b and c at 0, so that what is new does not decay at first.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        hidden_features: int = 32,
        horizon: float = 1.0,
        lr: float = 1e-3,
    ) -> None:
        at_least(1, in_channels=in_channels)
        super().__init__(2 * in_channels, num_classes, hidden_features, lr)
        positive(horizon=horizon)
        self.save_hyperparameters()
        self.horizon = horizon
        self.rate = nn.Parameter(torch.full((in_channels,), 0.1))  # at 0 the decays would have no gradient
        self.base = nn.Parameter(torch.zeros(in_channels))
        self.decay = nn.Linear(in_channels, hidden_features)
        nn.init.zeros_(self.decay.bias)

    def read(self, values: Tensor, mask: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        channels = mask.shape[-1]
        apart = gaps(mask.transpose(1, 2).flatten(0, 1), times.repeat_interleave(channels, 0))
        age = apart.unflatten(0, (-1, channels)).transpose(1, 2) / self.horizon
        kept = (-(self.rate * age + self.base).relu()).exp()
        x = torch.where(mask, values, kept * last_values(values, mask))
        return torch.cat([x, mask.to(values)], -1), (-self.decay(age).relu()).exp()

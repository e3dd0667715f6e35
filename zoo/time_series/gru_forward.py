"""GRUForward: a recurrent classifier that reads the last value of each channel, however old it is."""

from __future__ import annotations

from torch import Tensor

from zoo._checks import at_least
from zoo.time_series._gated import GatedClassifier, last_values


class GRUForward(GatedClassifier):
    """A gated recurrent unit on values filled forward: a baseline that is told neither mask nor time.

        u_k = the last observation of each channel up to t_k, 0 before the first
        r, z = s(W_r u + U_r h), s(W_z u + U_z h),   c = tanh(W u + r (U h)),   h <- (1 - z) c + z h

    with biases, at each time at which anything was observed. 0 is the mean of standardised channels. Shapes, batches
    and errors are those of `zoo.time_series._gated.GatedClassifier`.

    Source: the baseline "GRU-forward" of Z. Che, S. Purushotham, K. Cho, D. Sontag and Y. Liu, "Recurrent neural
    networks for multivariate time series with missing values", Scientific Reports 8, 2018, arXiv:1606.01865.
    """

    def __init__(self, in_channels: int, num_classes: int, hidden_features: int = 32, lr: float = 1e-3) -> None:
        at_least(1, in_channels=in_channels)
        super().__init__(in_channels, num_classes, hidden_features, lr)
        self.save_hyperparameters()

    def read(self, values: Tensor, mask: Tensor, times: Tensor) -> tuple[Tensor, None]:
        return last_values(values, mask), None

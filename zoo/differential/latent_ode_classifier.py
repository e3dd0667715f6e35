"""LatentODEClassifier: a latent differential equation that explains an irregular series, and tells its class."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo._checks import at_least, not_negative, positive
from zoo._irregular import completed
from zoo._module import ZooModule
from zoo._scores import scores
from zoo.differential.latent_ode import BackwardEncoder, Flow


class LatentODEClassifier(ZooModule):
    """The latent state of a variational autoencoder of irregular series, read by a classifier too.

        z(t_0) ~ q(. | x),   z' = f(z),   x_k ~ N(g(z(t_k)), 1),   logits = c(z(t_0))
        loss = cross-entropy - weight ELBO / number of observations,   ELBO = E_q log p(x | z) - KL(q || N(0, I))

    q is found by a GRU that reads the series backward in time, as in `zoo.differential.LatentODE`; the equation is
    solved by one step of rk4 between two times, which are in units of `horizon`. The likelihood is that of the observed
    values, without its constant: half their squared errors. In training one z(t_0) is drawn by torch's generator;
    otherwise it is the mean of q, and `error` is the mean squared error of what was observed.

    `forward` maps values (N, T, C), mask (N, T, C) and times (N, T) to logits (N, num_classes);
    `predict(values, times=times)` takes NaN for what was not observed. A batch is (values, mask, times, labels).
    Trained by Adam. Raises ValueError for a size below 1, fewer than two classes, a negative weight, and a horizon or
    lr that is not positive.

    Source: Y. Rubanova, R. T. Q. Chen and D. Duvenaud, "Latent ODEs for irregularly-sampled time series", NeurIPS 2019,
    arXiv:1907.03907. Deliberate differences: the encoder is a GRU that is told the mask and the gaps, where theirs lets
    its state follow an equation between two observations; fixed steps; a deviation of 1 for standardised values; the
    loss is scaled by the number of observations.
    """

    tiny: ClassVar[dict[str, Any]] = {"hidden_features": 8}
    exceptions: ClassVar[dict[str, str]] = {"meta": "hundreds of small operations take longer there than with data"}

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        latent_features: int = 16,
        hidden_features: int = 32,
        weight: float = 1.0,
        horizon: float = 1.0,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        at_least(1, in_channels=in_channels, latent_features=latent_features, hidden_features=hidden_features)
        at_least(2, num_classes=num_classes)
        not_negative(weight=weight)
        positive(horizon=horizon, lr=lr)
        self.save_hyperparameters()
        self.weight, self.horizon, self.lr = weight, horizon, lr
        latent, hidden = latent_features, hidden_features
        self.encoder = BackwardEncoder(in_channels, hidden, latent)
        self.dynamics = Flow(latent, hidden, 1)
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, in_channels))
        self.classifier = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, num_classes))

    def forward(self, values: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        out: Tensor = self.classifier(self.encoder(values, mask, times / self.horizon)[0])
        return out

    def inputs(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return batch[:3]

    def complete(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        return completed(given, next(self.parameters()).dtype, self.hparams["in_channels"])

    def step(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        values, mask, times, labels = batch
        times = times / self.horizon
        mean, log_variance = self.encoder(values, mask, times)
        z = mean + (log_variance / 2).exp() * torch.randn_like(mean) if self.training else mean
        kl = (log_variance.exp() + mean.square() - 1 - log_variance).sum() / 2
        found = self.decoder(self.dynamics(z, times.diff(dim=1)))
        squared, count = torch.where(mask, found - values, 0.0).square().sum(), mask.sum().clamp(min=1)
        told = scores(self.classifier(z), labels)
        loss = told["loss"] + self.weight * (squared / 2 + kl) / count
        return told | {"loss": loss, "cross_entropy": told["loss"], "error": squared / count}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)

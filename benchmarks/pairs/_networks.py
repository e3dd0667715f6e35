"""Networks that only the pairs need."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._module import ZooModule
from zoo.mean_field.two_layer import TwoLayerReLU


class Perceptron(ZooModule):
    """784-256-10 on flattened images (N, 1, 28, 28): so small that reading the images is most of the work."""

    def __init__(self, lr: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        x, labels = batch
        return {"loss": F.cross_entropy(self(x), labels)}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class MatrixVector(nn.Module):
    """A two-layer network with the weights of another, in the form that is fastest for one alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        assert isinstance(network, TwoLayerReLU)
        self.w, self.a = network.w, network.a

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.w.T) @ self.a / self.a.shape[0]

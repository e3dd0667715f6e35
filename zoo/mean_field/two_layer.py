"""Two-layer ReLU networks in the mean-field scaling."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo._module import ZooModule


class TwoLayerReLU(ZooModule):
    """f(x) = (1/m) sum_j a_j relu(w_j . x), the mean-field two-layer network without bias.

    Shapes: x is (N, d), w is (m, d), a is (m,), f(x) is (N,). The loss is mean((f(x) - y)^2) / 2.

    Initialisation ("sphere"): w_j uniform on the unit sphere, a_j = ±1 with equal probability, so that |a_j| =
    ||w_j||, a balance that gradient flow conserves. `pairing` draws half of the neurons and mirrors them:
    "linear" adds (-w, -a) for every (w, a), which makes f exactly linear at the start; "zero" adds (w, -a),
    which makes it exactly zero.

    Trained by plain SGD on both layers with step m * lr: the factor m undoes the 1/m of the output, so that
    networks of every width follow one curve in the time t = lr * steps.

    Raises ValueError for a size or a step below its least value, and for an odd width with pairing.

    Source: K. Hajjar and L. Chizat, "Symmetries in the dynamics of wide two-layer neural networks", 2022,
    arXiv:2211.08771.
    """

    vectorizes = True
    initial = ("pairing",)
    tiny = {"width": 8}

    def __init__(self, in_features: int, width: int = 1024, lr: float = 1e-2, pairing: str = "none") -> None:
        super().__init__()
        for name, value in {"in_features": in_features, "width": width}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if lr <= 0:
            raise ValueError(f"lr must be positive, got {lr}")
        if pairing not in ("none", "linear", "zero"):
            raise ValueError(f"pairing must be 'none', 'linear' or 'zero', got {pairing!r}")
        if pairing != "none" and width % 2:
            raise ValueError(f"width must be even for pairing {pairing!r}, got {width}")
        self.save_hyperparameters()
        self.lr = lr
        drawn = width if pairing == "none" else width // 2
        w = nn.functional.normalize(torch.randn(drawn, in_features), dim=1)
        a = torch.randint(0, 2, (drawn,)).to(w.dtype) * 2 - 1
        if pairing != "none":
            w = torch.cat([w, -w if pairing == "linear" else w])
            a = torch.cat([a, -a])
        self.w = nn.Parameter(w)
        self.a = nn.Parameter(a)

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.vecdot(torch.relu(x @ self.w.T), self.a) / self.a.shape[0]

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        x, y = batch
        return {"loss": (self(x) - y).square().mean() / 2}

    def linear_part(self) -> Tensor:
        """w(t) = (1/2m) sum_j a_j w_j of shape (d,): the odd part of f is exactly x -> w(t) . x."""
        return self.a @ self.w / (2 * self.a.shape[0])

    def masses(self) -> Tensor:
        """a_j ||w_j|| of every neuron, with its sign; (m,)."""
        return self.a * self.w.norm(dim=1)

    def angles(self, target_dim: int) -> Tensor:
        """The angle in [0, pi/2] of every neuron to the subspace of the first `target_dim` coordinates; (m,)."""
        return torch.atan2(self.w[:, target_dim:].norm(dim=1), self.w[:, :target_dim].norm(dim=1))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.a.shape[0] * self.lr)

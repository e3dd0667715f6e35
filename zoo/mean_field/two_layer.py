"""Two-layer ReLU networks in the mean-field scaling."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo._module import ZooModule


class TwoLayerReLU(ZooModule):
    """f(x) = (1/m) sum_j a_j relu(w_j . x), the mean-field two-layer network without bias.

    Shapes: x is (N, d), w is (m, d), a is (m,), f(x) is (N,). The loss is mean((f(x) - y)^2) / 2.

    Initialisation theta(0) = scale * theta_0. In theta_0, w_j is uniform on the unit sphere ("sphere") or N(0, I)
    ("gaussian"), and a_j = ±||w_j|| with equal probability: a balance that gradient flow conserves. A large scale
    gives the kernel regime, in which theta moves by scale^-2 of its norm. `pairing` draws half of the neurons and
    mirrors them: "linear" adds (-w, -a) for every (w, a), which makes f exactly linear at the start; "zero" adds
    (w, -a), which makes it exactly zero.

    Trained by plain SGD on both layers with step m * lr / max(1, scale)^2. The factor m undoes the 1/m of the
    output, so that networks of every width follow one curve in the time t = lr * steps. The tangent kernel, and with
    it the curvature of the loss, grows as scale^2: the divisor keeps the step stable. It is 1 below scale 1, where
    the network grows on its way to a size that does not depend on the scale.

    Raises ValueError for a size, a step or a scale below its least value, an unknown initialisation or pairing, and
    an odd width with pairing.

    Source: K. Hajjar and L. Chizat, "Symmetries in the dynamics of wide two-layer neural networks", 2022,
    arXiv:2211.08771; for the scale S. Neumayer, L. Chizat and M. Unser, "On the effect of initialization: the scaling
    path of 2-layer neural networks", 2023, arXiv:2303.17805.
    """

    vectorizes = True
    initial = ("pairing", "init")
    tiny = {"width": 8}

    def __init__(
        self,
        in_features: int,
        width: int = 1024,
        lr: float = 1e-2,
        pairing: str = "none",
        init: str = "sphere",
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        for name, value in {"in_features": in_features, "width": width}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name, number in {"lr": lr, "scale": scale}.items():
            if not number > 0:
                raise ValueError(f"{name} must be positive, got {number}")
        if init not in ("sphere", "gaussian"):
            raise ValueError(f"init must be 'sphere' or 'gaussian', got {init!r}")
        if pairing not in ("none", "linear", "zero"):
            raise ValueError(f"pairing must be 'none', 'linear' or 'zero', got {pairing!r}")
        if pairing != "none" and width % 2:
            raise ValueError(f"width must be even for pairing {pairing!r}, got {width}")
        self.save_hyperparameters()
        self.lr = lr
        self.scale = scale
        w, a = _neurons(width if pairing == "none" else width // 2, in_features, init)
        if pairing != "none":
            w = torch.cat([w, -w if pairing == "linear" else w])
            a = torch.cat([a, -a])
        self.w = nn.Parameter(scale * w)
        self.a = nn.Parameter(scale * a)

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
        return torch.optim.SGD(self.parameters(), lr=self.a.shape[0] * self.lr / max(1.0, self.scale) ** 2)


def _neurons(count: int, in_features: int, init: str) -> tuple[Tensor, Tensor]:
    """Balanced neurons: w of shape (count, d) and a = ±||w|| of shape (count,)."""
    w = torch.randn(count, in_features)
    if init == "sphere":
        w = nn.functional.normalize(w, dim=1)
    signs = torch.randint(0, 2, (count,)).to(w.dtype) * 2 - 1
    return w, signs if init == "sphere" else signs * w.norm(dim=1)

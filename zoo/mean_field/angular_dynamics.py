"""The training of a wide two-layer network on a low-dimensional target, reduced to one angle a neuron."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo._module import ZooModule


class AngularDynamics(ZooModule):
    """Particles of mass c_j at angles theta_j in [0, pi/2]: a wide network's training, reduced by its symmetries.

    A target of ||x_H|| alone and neurons drawn uniformly on the sphere are both unchanged by rotations of H and of its
    complement, and stay so. What is left of a neuron (a, w) is its mass c = a ||w|| and its angle theta to H; what is
    left of the network is a function of the angle phi of the input to H,

        f(phi) = E psi(z),   psi(z) = (1/m) sum_j c_j relu(z . (cos theta_j, sin theta_j)),   z = (r cos phi, s sin phi)

    where r and s are the first coordinates of uniform unit vectors in R^{d_H} and R^{d - d_H}. With the residual
    R = cos(phi) - f(phi) on the unit sphere, the masses grow and the angles move by

        d log|c_j| / dt = 2 sign(c_j) G(theta_j),   d theta_j / dt = sign(c_j) G'(theta_j),
        G(theta) = d E[R relu(z . (cos theta, sin theta))]

    c_j = ±1 at first. With one seed the particles start as the neurons of a TwoLayerReLU of the same width: both are
    drawn alike.

    Each step is an Euler step of length lr for log|c| and theta on fresh samples, two of z for each phi, so that the
    gradient has no bias. The loss is an unbiased estimate of (d/2) E[R^2], which may be negative: the network's loss
    E[(f(x) - y)^2] / 2 for x ~ N(0, I_d).

    Shapes: z is (N, 2), psi(z) is (N,), log_mass, sign and theta are (m,). A batch is (z, z', cos(phi)).

    Raises ValueError for a width below 1, a step that is not positive, and target_dim outside 1 … dim - 1.

    Differences from the paper's code: the masses grow by exp(2 lr G) and not by 1 + 2 lr G, which is the same to first
    order and never changes a sign; z and z' both serve both purposes, residual and gradient, each for the other.

    Source: K. Hajjar and L. Chizat, "Symmetries in the dynamics of wide two-layer neural networks", 2022,
    arXiv:2211.08771.
    """

    vectorizes = True
    tiny = {"width": 8}
    sign: Tensor

    def __init__(self, dim: int, target_dim: int, width: int = 1024, lr: float = 1e-2) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        if not lr > 0:
            raise ValueError(f"lr must be positive, got {lr}")
        if not 1 <= target_dim < dim:
            raise ValueError(f"target_dim must be at least 1 and less than dim = {dim}, got {target_dim}")
        self.save_hyperparameters()
        self.dim, self.lr = dim, lr
        w = torch.randn(width, dim)
        self.theta = nn.Parameter(torch.atan2(w[:, target_dim:].norm(dim=1), w[:, :target_dim].norm(dim=1)))
        self.log_mass = nn.Parameter(torch.zeros(width))
        self.register_buffer("sign", torch.randint(0, 2, (width,)).to(w.dtype) * 2 - 1)

    def forward(self, z: Tensor) -> Tensor:
        return torch.linalg.vecdot(self._features(z), self.masses()) / self.theta.shape[0]

    def _features(self, z: Tensor) -> Tensor:
        return torch.relu(z @ torch.stack([self.theta.cos(), self.theta.sin()]))

    def step(self, batch: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
        z, other, target = batch
        features = self._features(torch.cat([z, other]))
        psi = torch.linalg.vecdot(features.detach(), self.masses().detach()) / self.theta.shape[0]
        residual = target - psi.view(2, -1)
        loss = self.dim / 2 * residual.prod(0).mean()
        # Particles climb sign(c) G: log|c| moves by twice its height, theta by its slope. The loss's own gradients have
        # a factor |c| / m too many: those of a term of value 0, in which the residuals stand still, have not.
        height = self.dim / 2 * (residual.flip(0).reshape(1, -1) @ features)[0] / target.shape[0]
        charge = self.sign * (1 + 2 * (self.log_mass - self.log_mass.detach()))
        climbed = torch.linalg.vecdot(charge, height)
        return {"loss": loss.detach() - (climbed - climbed.detach())}

    def masses(self) -> Tensor:
        """c_j = a_j ||w_j|| of every neuron, with its sign; (m,)."""
        return self.sign * self.log_mass.exp()

    def angles(self, target_dim: int) -> Tensor:
        """theta_j of every neuron to H, of no other dimension, folded into [0, pi/2] by its reflections; (m,)."""
        return torch.atan2(self.theta.sin().abs(), self.theta.cos().abs())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)

"""LinearFlow: the continuous normalising flow along a linear field, where everything is known."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from zoo._checks import at_least, positive
from zoo._module import ZooModule
from zoo.differential._flow import PROBES, basis, carried, log_density, probe, refuse_dimension


class LinearFlow(ZooModule):
    """The density of x(T), where x(0) ~ N(0, I) and dx/dt = A x, A_ij ~ N(0, 1/d).

        x(T) = e^{TA} x(0),   log p along the flow changes by -T tr A,   x(T) ~ N(0, e^{TA} e^{TA}^T)

    It is solved as a learned flow is, by `steps` steps of rk4, and compared with these. Of Hutchinson's estimates with
    one eps for each point the mean is -T tr A too, and the variance T^2 times 2 ||S||^2 (Gaussian) or
    2 (||S||^2 - ||diag S||^2) (Rademacher), S = (A + A^T) / 2, in Frobenius' norm.

    Nothing is fitted. `forward` maps x, (N, d), to log p(x), (N,). The test gives the largest errors over all points,
    relative where they say so, and for either estimate the distance of its mean from the exact value in standard
    errors, and the ratio of its variance to the one above. Raises ValueError for a size below 1, a time that is not
    positive, and points of another dimension.

    Source: R. T. Q. Chen, Y. Rubanova, J. Bettencourt and D. Duvenaud, "Neural ordinary differential equations",
    NeurIPS 2018, arXiv:1806.07366; M. F. Hutchinson, "A stochastic estimator of the trace of the influence matrix for
    Laplacian smoothing splines", 1989.
    """

    is_density = True
    exceptions: ClassVar[dict[str, str]] = {"gradients": "there is nothing to fit"}
    tiny: ClassVar[dict[str, Any]] = {"steps": 2}
    matrix: Tensor

    def __init__(self, in_features: int, time: float = 1.0, steps: int = 32) -> None:
        super().__init__()
        at_least(1, in_features=in_features, steps=steps)
        positive(time=time)
        self.save_hyperparameters()
        self.in_features, self.time, self.steps = in_features, time, steps
        self.register_buffer("matrix", torch.randn(in_features, in_features) / math.sqrt(in_features))

    def pushed(self, t: Any, x: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        """A x and A v."""
        return x @ self.matrix.T, tangents @ self.matrix.T

    def forward(self, x: Tensor) -> Tensor:
        refuse_dimension(x, self.in_features)
        return log_density(self, x, basis(x), self.time, self.steps)

    def test_step(self, batch: tuple[Tensor], batch_idx: int) -> None:
        x = batch[0]
        scalars = self.errors(x)
        for kind in PROBES:
            scalars |= {f"{kind}_{name}": value for name, value in self.estimated(x, kind).items()}
        self.log_scalars("test", scalars, len(x))

    def errors(self, x: Tensor) -> dict[str, Tensor]:
        """The largest differences between what was solved and the closed forms."""
        end, gained = carried(self, x, basis(x), self.time, self.steps)
        back, lost = carried(self, end, basis(x), self.time, self.steps, backward=True)
        exact = x.double() @ torch.matrix_exp(self.time * self.matrix.double()).T
        log_p = self.exact_log_prob(exact)
        return {
            "logdet_error": (gained + self.time * self.matrix.trace()).abs().max(),
            "flow_error": _relative(end, exact),
            "return_error": _relative(back, x.double()),
            "logdet_return_error": (gained + lost).abs().max(),
            "density_error": ((self(exact.to(x)) - log_p).abs() / log_p.abs().clamp(min=1)).max(),
        }

    def exact_log_prob(self, x: Tensor) -> Tensor:
        """log N(x; 0, e^{TA} e^{TA}^T) in float64."""
        factor = torch.matrix_exp(self.time * self.matrix.double())
        normal = torch.distributions.MultivariateNormal(torch.zeros_like(factor[0]), factor @ factor.T)
        log_p: Tensor = normal.log_prob(x.double())
        return log_p

    def estimated(self, x: Tensor, kind: str) -> dict[str, Tensor]:
        """How far Hutchinson's estimates of the change of log p are from their mean and variance."""
        _, gained = carried(self, x, probe(x, kind), self.time, self.steps)
        symmetric = (self.matrix + self.matrix.T).double() / 2
        squares = symmetric.square().sum()
        if kind == "rademacher":
            squares = squares - symmetric.diagonal().square().sum()
        variance = 2 * self.time**2 * squares
        missed = gained.double().mean() + self.time * self.matrix.double().trace()
        return {
            "deviates": missed.abs() / (variance / len(x)).sqrt(),
            "variance_ratio": gained.double().var() / variance,
        }


def _relative(found: Tensor, exact: Tensor) -> Tensor:
    """The largest error of a point, relative to the point."""
    return ((found - exact).norm(dim=1) / exact.norm(dim=1)).max()

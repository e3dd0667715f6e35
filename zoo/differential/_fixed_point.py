"""Fixed points of maps, one for each sample, and gradients through them that do not know how they were found."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from zoo._checks import at_least, one_of, positive

Map = Callable[[Tensor], Tensor]
SOLVERS = ("anderson", "iteration")


@dataclass(frozen=True)
class FixedPoint:
    """Points z, (N, n), and the largest residual of a sample at each evaluation of the map, that of z the last."""

    z: Tensor
    residuals: tuple[float, ...]

    @property
    def iterations(self) -> int:
        """Evaluations of the map."""
        return len(self.residuals)


@dataclass(frozen=True)
class Solver:
    """Finds z = f(z) for N samples at once: f maps (N, n) to (N, n), each sample by itself.

    The residual of a sample is ||f(z) - z|| / ||f(z)||. `iteration` goes on to f(z). `anderson` goes on to the
    combination of its last `memory` + 1 values f(z_i) whose combined error f(z_i) - z_i is least, with weights that
    sum to 1, for each sample by itself: on an affine map it does what GMRES does.

    Raises ValueError for another method, a size below 1 and a tolerance that is not positive; ArithmeticError, with
    residual and iterations, where some sample's residual is above `tolerance` after `max_iterations` evaluations, or is
    not finite.

    Source: D. G. Anderson, "Iterative procedures for nonlinear integral equations", J. ACM 12, 1965, in the form of
    H. F. Walker and P. Ni, "Anderson acceleration for fixed-point iterations", SIAM J. Numer. Anal. 49, 2011.
    """

    method: str = "anderson"
    tolerance: float = 1e-5
    max_iterations: int = 100
    memory: int = 5

    def __post_init__(self) -> None:
        one_of(SOLVERS, solver=self.method)
        at_least(1, max_iterations=self.max_iterations, memory=self.memory)
        positive(tolerance=self.tolerance)

    def solve(self, f: Map, z: Tensor, what: str = "fixed point") -> FixedPoint:
        """The fixed point that is found from z; `what` is its name in the error."""
        values: list[Tensor] = []
        errors: list[Tensor] = []
        found: list[float] = []
        for _ in range(self.max_iterations):
            value = f(z)
            error = value - z
            found.append(float(residual(error, value)))
            if found[-1] <= self.tolerance:
                return FixedPoint(z, tuple(found))
            if not math.isfinite(found[-1]):
                break
            if self.method == "anderson":
                values, errors = [*values, value][-self.memory - 1 :], [*errors, error][-self.memory - 1 :]
                z = _mixed(values, errors)
            else:
                z = value
        raise ArithmeticError(
            f"the {what} was not reached: residual {found[-1]:.3g} after {len(found)} iterations ({self.method}), and "
            f"{self.tolerance:g} was asked for; the map may not be a contraction: make it one, or raise max_iterations "
            "or tolerance"
        )


def residual(error: Tensor, value: Tensor) -> Tensor:
    """The largest ||error|| / ||value|| of a sample, 0 where both are."""
    tiny = torch.finfo(value.dtype).tiny
    return (error.norm(dim=1) / value.norm(dim=1).clamp(min=tiny)).max()


def _mixed(values: list[Tensor], errors: list[Tensor]) -> Tensor:
    """Anderson's next point, g - dG gamma with gamma = argmin ||r - dR gamma||, differences of neighbours as columns.

    The columns of dR are scaled to length 1, since they shrink by orders of magnitude along the way, and the normal
    equations, in float64, are held up by a part of the rounding errors in them.
    """
    if len(values) == 1:
        return values[0]
    steps = torch.stack([b - a for a, b in pairwise(values)], -1)
    change = torch.stack([b - a for a, b in pairwise(errors)], -1)
    length = change.norm(dim=1, keepdim=True).clamp(min=torch.finfo(change.dtype).tiny)
    columns = (change / length).double()
    gram = columns.mT @ columns
    gram.diagonal(dim1=-2, dim2=-1).add_(10 * torch.finfo(change.dtype).eps)
    weights = torch.linalg.solve(gram, columns.mT @ errors[-1].double()[..., None])
    return values[-1] - (steps @ (weights.to(steps.dtype) / length.mT))[..., 0]


def equilibrium(
    f: Map, start: Tensor, solver: Solver, watch: Callable[[str, FixedPoint], None] = lambda name, found: None
) -> Tensor:
    """f(z) at the fixed point z = f(z), with the gradient of z as a function of all that f depends on.

        dz = (I - J)^-1 df,   so that dL/dtheta = (df/dtheta)^T u,   u = J^T u + dL/dz,   J = df/dz

    u is a fixed point, too, and found by the same solver in the backward pass: the gradient is that of the equilibrium,
    not of the way to it, and takes the memory of two evaluations of f, however many iterations there were. `watch` is
    given each fixed point when it is found, as "forward" or "backward".

    Raises ArithmeticError where one of them is not reached, in the backward pass as well, and RuntimeError where the
    gradient is to be differentiated once more: no gradient is better than a wrong one.

    Source: S. Bai, J. Z. Kolter and V. Koltun, "Deep equilibrium models", NeurIPS 2019, arXiv:1909.01377.
    """
    with torch.no_grad():
        found = solver.solve(f, start, "equilibrium")
    watch("forward", found)
    z = f(found.z)
    if z.requires_grad:
        held = found.z.detach().requires_grad_()
        again = f(held)

        def through(gradient: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                raise RuntimeError("the gradient through an equilibrium has no derivative: do not ask for create_graph")

            def adjoint(u: Tensor) -> Tensor:
                return torch.autograd.grad(again, held, u, retain_graph=True)[0] + gradient

            solved = solver.solve(adjoint, gradient, "gradient's fixed point")
            watch("backward", solved)
            return solved.z

        z.register_hook(through)
    return z

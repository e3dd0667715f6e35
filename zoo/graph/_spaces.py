"""Spaces of constant curvature: the plane, the stereographic model of either sign, and the hyperboloid."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import number, one_of

#: Sums over the neighbours of each node, of values (M, d), with some weights.
Mix = Callable[[Tensor], Tensor]
#: Below it, squared Lorentz lengths are rounding: the square root's slope would be no number.
SMALLEST = 1e-15


@cache
def geoopt(model: str) -> Any:
    """geoopt's functions of a model, `stereographic` or `lorentz`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")  # geoopt 0.5.1 with torch 2.14
        try:
            from geoopt.manifolds.lorentz import math as lorentz
            from geoopt.manifolds.stereographic import math as stereographic
        except ImportError as error:
            raise ImportError("curved spaces need geoopt: pip install 'paperzoo[graph]'") from error
    return {"lorentz": lorentz, "stereographic": stereographic}[model]


class Flat(nn.Module):
    """Curvature 0: what the curved spaces tend to, where every map is the identity or a sum."""

    def __init__(self, curvature: float = 0.0, learn: bool = False) -> None:
        super().__init__()
        if curvature != 0 or learn:
            raise ValueError(f"the flat space has the fixed curvature 0, got {curvature}, learn={learn}")

    def exp0(self, v: Tensor) -> Tensor:
        return v

    def log0(self, x: Tensor) -> Tensor:
        return x

    def add(self, x: Tensor, b: Tensor) -> Tensor:
        return x + b

    def exp(self, x: Tensor, u: Tensor) -> Tensor:
        return x + u

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        return y - x

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.linalg.vector_norm(x - y, dim=-1)

    def midpoint(self, x: Tensor, mix: Mix) -> Tensor:
        return mix(x)

    def coordinates(self, x: Tensor) -> Tensor:
        return x

    def point(self, coordinates: Tensor) -> Tensor:
        return coordinates

    def check(self, x: Tensor) -> None:
        """Raises ValueError where a point does not lie in the space."""


class Stereographic(nn.Module):
    """The stereographic model of curvature kappa: the Poincare ball of radius 1/sqrt(-kappa) below 0, a sphere above.

        x + y   = ((1 - 2 k <x,y> - k |y|^2) x + (1 + k |x|^2) y) / (1 - 2 k <x,y> + k^2 |x|^2 |y|^2)
        exp_0 v = tan_k(|v|) v / |v|,   d(x, y) = 2 arctan_k |(-x) + y|,   lambda_x = 2 / (1 + k |x|^2)

    A tangent vector at the origin has half the length of the path that it leads along, as the metric there is 4 |dx|^2:
    for kappa to 0, distances tend to 2 |x - y|. Computed by geoopt. Results are kept within 1 - 4e-3 (float32) or
    1 - 1e-5 (float64) of the ball's radius, for the distance from the origin is infinite at the border.

    Source: O. Ganea, G. Becigneul and T. Hofmann, "Hyperbolic neural networks", NeurIPS 2018, arXiv:1805.09112;
    G. Bachmann, G. Becigneul and O. Ganea, "Constant curvature graph convolutional networks", ICML 2020,
    arXiv:1911.05076.
    """

    def __init__(self, curvature: float = -1.0, learn: bool = False) -> None:
        super().__init__()
        number(curvature=curvature)
        kappa = torch.tensor(float(curvature))
        self.kappa = nn.Parameter(kappa) if learn else nn.Buffer(kappa)

    @property
    def _functions(self) -> Any:
        return geoopt("stereographic")

    @property
    def curvature(self) -> Tensor:
        return self.kappa

    def exp0(self, v: Tensor) -> Tensor:
        k = self.curvature
        return self._functions.project(self._functions.expmap0(v, k=k), k=k)

    def log0(self, x: Tensor) -> Tensor:
        return self._functions.logmap0(x, k=self.curvature)

    def add(self, x: Tensor, b: Tensor) -> Tensor:
        """x moved by b, a tangent vector at the origin: Moebius addition of exp_0 b."""
        k = self.curvature
        return self._functions.project(self._functions.mobius_add(x, self._functions.expmap0(b, k=k), k=k), k=k)

    def exp(self, x: Tensor, u: Tensor) -> Tensor:
        k = self.curvature
        return self._functions.project(self._functions.expmap(x, u, k=k), k=k)

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        return self._functions.logmap(x, y, k=self.curvature)

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        return self._functions.dist(x, y, k=self.curvature)

    def midpoint(self, x: Tensor, mix: Mix) -> Tensor:
        """The gyromidpoint: half of sum_j w_j lambda_j x_j / sum_j w_j (lambda_j - 1)."""
        k = self.curvature
        conformal = self._functions.lambda_x(x, k=k, keepdim=True)
        total = mix(torch.cat([conformal * x, conformal - 1], -1))
        double = total[..., :-1] / total[..., -1:].clamp(
            min=1e-10
        )  # above 0 in a ball; on a sphere near the equator not
        half = self._functions.mobius_scalar_mul(torch.tensor(0.5, dtype=x.dtype, device=x.device), double, k=k)
        return self._functions.project(half, k=k)

    def coordinates(self, x: Tensor) -> Tensor:
        return x

    def point(self, coordinates: Tensor) -> Tensor:
        """The point of these coordinates, moved inside where they lie outside the ball."""
        return self._functions.project(coordinates, k=self.curvature)

    def check(self, x: Tensor) -> None:
        """Raises ValueError where a point lies on the border of the ball or outside."""
        longest = float(x.detach().norm(dim=-1).max())
        if (kappa := float(self.curvature.detach())) < 0 and not longest * math.sqrt(-kappa) < 1:
            radius = 1 / math.sqrt(-kappa)
            raise ValueError(f"expected points in the ball of radius {radius:.6g}, got one of norm {longest:.6g}")


class Negative(nn.Module):
    """A curvature below 0, that stays so where it is learned: kappa = -softplus(rho)."""

    def __init__(self, curvature: float, learn: bool) -> None:
        super().__init__()
        number(curvature=curvature)
        if not curvature < 0:
            raise ValueError(f"curvature must be negative in a hyperbolic space, got {curvature}")
        self.learn = learn
        if learn:
            self.rho = nn.Parameter(torch.tensor(-curvature + math.log(-math.expm1(curvature))))
        else:
            self.kappa = nn.Buffer(torch.tensor(float(curvature)))

    def forward(self) -> Tensor:
        return -F.softplus(self.rho) if self.learn else self.kappa


class Ball(Stereographic):
    """The Poincare ball: the stereographic model of a negative curvature, at its border infinitely far from itself."""

    def __init__(self, curvature: float = -1.0, learn: bool = False) -> None:
        nn.Module.__init__(self)
        self.negative = Negative(curvature, learn)

    @property
    def curvature(self) -> Tensor:
        return self.negative()


class Hyperboloid(nn.Module):
    """The sheet x_0 = sqrt(1/c + |x|^2) of <x, x>_L = -1/c, of curvature kappa = -c, for coordinates x in R^d.

        <x, y>_L = -x_0 y_0 + x . y,   |x - y|_L^2 = <x - y, x - y>_L
        exp_0 v = sinh(sqrt(c) |v|) v / (sqrt(c) |v|),   d(x, y) = 2 arsinh(sqrt(c) |x - y|_L / 2) / sqrt(c)

    Points have d + 1 coordinates, x_0 first; tangent vectors at the origin are given by the other d. For c to 0, exp_0
    v tends to v and distances to |x - y|. Exponential map and logarithm elsewhere are geoopt's. The distance by the
    hyperbolic sine and the maps at the origin are ours: they are exact for near points, where the inverse cosine of
    geoopt's is rounding.

    Source: M. Nickel and D. Kiela, "Learning continuous hierarchies in the Lorentz model of hyperbolic geometry",
    ICML 2018, arXiv:1806.03417; M. T. Law, R. Liao, J. Snell and R. Zemel, "Lorentzian distance learning for hyperbolic
    representations", ICML 2019, for the centroid.
    """

    def __init__(self, curvature: float = -1.0, learn: bool = False) -> None:
        super().__init__()
        self.negative = Negative(curvature, learn)

    @property
    def _functions(self) -> Any:
        return geoopt("lorentz")

    @property
    def curvature(self) -> Tensor:
        return self.negative()

    @property
    def root(self) -> Tensor:
        """sqrt(c), the inverse of the radius of curvature."""
        return (-self.curvature).sqrt()

    def exp0(self, v: Tensor) -> Tensor:
        length = self.root * _norm(v)
        return self.point(torch.sinh(length.clamp(max=40.0)) / length * v)  # beyond, float32 has no squares of it

    def log0(self, x: Tensor) -> Tensor:
        length = self.root * _norm(x[..., 1:])
        return torch.asinh(length) / length * x[..., 1:]

    def add(self, x: Tensor, b: Tensor) -> Tensor:
        """x moved by b, a tangent vector at the origin, transported to x."""
        k = -1 / self.curvature
        tangent = self._functions.parallel_transport0(x, F.pad(b, (1, 0)).expand_as(x), k=k)
        return self.point(self._functions.expmap(x, tangent, k=k)[..., 1:])

    def exp(self, x: Tensor, u: Tensor) -> Tensor:
        return self.point(self._functions.expmap(x, u, k=-1 / self.curvature)[..., 1:])

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        return self._functions.logmap(x, y, k=-1 / self.curvature)

    def chord(self, x: Tensor, y: Tensor) -> Tensor:
        """The squared Lorentz distance |x - y|_L^2 = -2/c - 2 <x, y>_L."""
        return lorentz_square(x - y).clamp(min=0)

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        return 2 / self.root * torch.asinh(self.root / 2 * self.chord(x, y).clamp(min=SMALLEST).sqrt())

    def midpoint(self, x: Tensor, mix: Mix) -> Tensor:
        """The Lorentz centroid: s / (sqrt(c) | |s|_L |) of s = sum_j w_j x_j. It is the image of the gyromidpoint.

        The weights sum to 1: by <x, y>_L <= -1/c the divisor is then at least 1, whatever rounding makes of far points.
        """
        total = mix(x)
        scale = (self.curvature * lorentz_square(total)).clamp(min=1).sqrt()
        return self.point((total / scale[..., None])[..., 1:])

    def coordinates(self, x: Tensor) -> Tensor:
        return x[..., 1:]

    def point(self, coordinates: Tensor) -> Tensor:
        """The point of the sheet above coordinates (…, d)."""
        square = coordinates.square().sum(-1, keepdim=True)
        return torch.cat([(square - 1 / self.curvature).sqrt(), coordinates], -1)

    def check(self, x: Tensor) -> None:
        """Raises ValueError where a point is not on the upper sheet, up to rounding."""
        x, radius = x.detach(), float(-1 / self.curvature.detach())
        off = (self.point(x[..., 1:])[..., 0] - x[..., 0]).abs() / x[..., 0].abs().clamp(min=1e-12)
        if not bool((off < 1e-3).all()):
            raise ValueError(
                f"expected points with x_0 = sqrt({radius:.6g} + |x|^2), got one that is "
                f"{float(off.max()):.3g} of x_0 away"
            )


def lorentz_square(x: Tensor) -> Tensor:
    """<x, x>_L."""
    return x[..., 1:].square().sum(-1) - x[..., 0].square()


def _norm(v: Tensor) -> Tensor:
    """The norm, at least 1e-15 so that 0 / 0 is 1, along the last axis, which stays."""
    return torch.linalg.vector_norm(v, dim=-1, keepdim=True).clamp(min=1e-15)


def space(name: str, curvature: float, learn: bool = False) -> nn.Module:
    """A space by its name. Raises ValueError for another name, and for a curvature that it does not have."""
    one_of(KINDS, space=name)
    return KINDS[name](curvature, learn)


KINDS: dict[str, Any] = {
    "flat": Flat,
    "stereographic": Stereographic,
    "ball": Ball,
    "hyperboloid": Hyperboloid,
}

"""Spaces of constant curvature: the plane, the stereographic model of either sign, and the hyperboloid."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import number, one_of

#: Sums over the neighbours of each node, of values (M, d), with some weights.
Mix = Callable[[Tensor], Tensor]
Curve = Callable[[Tensor], Tensor]
#: How far from the origin of the hyperboloid, in radii of curvature, exp leads, and how far from a point: the squared
#: coordinates of its end, before it is pulled back, are numbers in float32.
FARTHEST = 20.0
#: Below it, squared Lorentz lengths are rounding: the square root's slope would be no number.
SMALLEST = 1e-15
#: Next to 0, where the closed forms of either sign are 0 / 0, functions of the curvature are given by series.
NEXT_TO_0 = 1e-5


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

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.linalg.vector_norm(x - y, dim=-1)

    def coordinates(self, x: Tensor) -> Tensor:
        return x

    def check(self, x: Tensor) -> None:
        """Raises ValueError where a point does not lie in the space."""


class Stereographic(nn.Module):
    """The stereographic model of curvature kappa: the Poincare ball of radius 1/sqrt(-kappa) below 0, a sphere above.

        x (+) y = ((1 - 2 k <x,y> - k |y|^2) x + (1 + k |x|^2) y) / (1 - 2 k <x,y> + k^2 |x|^2 |y|^2)
        exp_0 v = tan_k(|v|) v / |v|,   exp_x u = x (+) tan_k(lambda_x |u| / 2) u / |u|,   lambda_x = 2 / (1 + k |x|^2)
        d(x, y) = 2 arctan_k |(-x) (+) y| = 2 arcsin_k(|x - y| sqrt(lambda_x lambda_y) / 2)

    with tan_k(r) = tanh(sqrt(-k) r) / sqrt(-k) below 0, tan(sqrt(k) r) / sqrt(k) above, and r at 0; the others alike. A
    tangent vector at the origin has half the length of the path that it leads along, as the metric there is 4 |dx|^2:
    for kappa to 0, distances tend to 2 |x - y|. Results are kept within 1 - 4e-3 (float32) or 1 - 1e-5 (float64) of the
    ball's radius, as in geoopt and the code of HGCN, for the border is infinitely far.

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
    def curvature(self) -> Tensor:
        return self.kappa

    def _of(self, r: Tensor, below: Curve, above: Curve, cubic: float) -> Tensor:
        """below(sqrt(-k) r) / sqrt(-k), above(sqrt(k) r) / sqrt(k), or r + cubic k r^3 between them."""
        k = self.curvature
        root = k.abs().clamp(min=SMALLEST).sqrt()
        curved = torch.where(k < 0, below(root * r), above(root * r)) / root
        near = k.abs() * r.square().clamp(min=1) < NEXT_TO_0
        return torch.where(near, r + cubic * k * r**3, curved)

    def _tan(self, r: Tensor) -> Tensor:
        return self._of(r, torch.tanh, torch.tan, 1 / 3)

    def _arctan(self, r: Tensor) -> Tensor:
        return self._of(r, _artanh, torch.atan, -1 / 3)

    def _arcsin(self, r: Tensor) -> Tensor:
        return self._of(r, torch.asinh, _arcsin, 1 / 6)

    def conformal(self, x: Tensor) -> Tensor:
        """lambda_x, (…, 1)."""
        return 2 / (1 + self.curvature * _square(x)).clamp(min=SMALLEST)

    def exp0(self, v: Tensor) -> Tensor:
        r = _norm(v)
        return self.point(self._tan(r) / r * v)

    def log0(self, x: Tensor) -> Tensor:
        r = _norm(x)
        return self._arctan(r) / r * x

    def sum(self, x: Tensor, y: Tensor) -> Tensor:
        """x (+) y, the addition of Moebius, as it is."""
        k, inner, x2, y2 = self.curvature, (x * y).sum(-1, keepdim=True), _square(x), _square(y)
        above = (1 - 2 * k * inner - k * y2) * x + (1 + k * x2) * y
        return above / (1 - 2 * k * inner + k**2 * x2 * y2).clamp(min=SMALLEST)

    def add(self, x: Tensor, b: Tensor) -> Tensor:
        """x moved by b, a tangent vector at the origin: x (+) exp_0 b."""
        return self.point(self.sum(x, self.exp0(b)))

    def exp(self, x: Tensor, u: Tensor) -> Tensor:
        r = _norm(u)
        return self.point(self.sum(x, self._tan(self.conformal(x) * r / 2) / r * u))

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        return 2 / self.conformal(x) * self.log0(self.sum(-x, y))

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        scale = (self.conformal(x) * self.conformal(y)).sqrt()[..., 0] / 2
        return 2 * self._arcsin(torch.linalg.vector_norm(x - y, dim=-1) * scale)

    def midpoint(self, x: Tensor, mix: Mix) -> Tensor:
        """The gyromidpoint: half of sum_j w_j lambda_j x_j / sum_j w_j (lambda_j - 1)."""
        conformal = self.conformal(x)
        total = mix(torch.cat([conformal * x, conformal - 1], -1))
        double = total[..., :-1] / total[..., -1:].clamp(min=1e-10)  # above 0 in a ball; beyond a sphere's equator not
        r = _norm(double)
        return self.point(self._tan(self._arctan(r) / 2) / r * double)

    def coordinates(self, x: Tensor) -> Tensor:
        return x

    def point(self, coordinates: Tensor) -> Tensor:
        """The point of these coordinates, moved inside where they lie outside the ball or too near its border."""
        most = (1 - border(coordinates.dtype)) / (-self.curvature).clamp(min=SMALLEST).sqrt()
        norm = _norm(coordinates)
        return torch.where(norm > most, coordinates / norm * most, coordinates)

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
        kappa: Tensor = self.negative()
        return kappa

    def _of(self, r: Tensor, below: Curve, above: Curve, cubic: float) -> Tensor:
        root = (-self.curvature).clamp(min=SMALLEST).sqrt()
        return below(root * r) / root


class Hyperboloid(nn.Module):
    """The sheet x_0 = sqrt(1/c + |x|^2) of <x, x>_L = -1/c, of curvature kappa = -c, for coordinates x in R^d.

        <x, y>_L = -x_0 y_0 + x . y,   |x - y|_L^2 = <x - y, x - y>_L
        exp_0 v = sinh(sqrt(c) |v|) v / (sqrt(c) |v|),   d(x, y) = 2 arsinh(sqrt(c) |x - y|_L / 2) / sqrt(c)

    Points have d + 1 coordinates, x_0 first; tangent vectors at the origin are given by the other d. For c to 0, exp_0
    v tends to v and distances to |x - y|. By the hyperbolic sine, distances of near points near the origin are exact,
    where the inverse cosine is rounding; far from it <x - y, x - y>_L cancels: in float32 all digits are lost at a
    distance of about 8 from the origin, so take `double` there.

    Source: M. Nickel and D. Kiela, "Learning continuous hierarchies in the Lorentz model of hyperbolic geometry",
    ICML 2018, arXiv:1806.03417; M. T. Law, R. Liao, J. Snell and R. Zemel, "Lorentzian distance learning for hyperbolic
    representations", ICML 2019, for the centroid.
    """

    def __init__(self, curvature: float = -1.0, learn: bool = False) -> None:
        super().__init__()
        self.negative = Negative(curvature, learn)

    @property
    def curvature(self) -> Tensor:
        kappa: Tensor = self.negative()
        return kappa

    @property
    def root(self) -> Tensor:
        """sqrt(c), the inverse of the radius of curvature."""
        return (-self.curvature).sqrt()

    def exp0(self, v: Tensor) -> Tensor:
        length = self.root * _norm(v)
        return self.point(torch.sinh(length.clamp(max=FARTHEST)) / length * v)

    def log0(self, x: Tensor) -> Tensor:
        length = self.root * _norm(x[..., 1:])
        return torch.asinh(length) / length * x[..., 1:]

    def add(self, x: Tensor, b: Tensor) -> Tensor:
        """x moved by b, a tangent vector at the origin o, transported: b + c <x, b>_L (o + x) / (1 + sqrt(c) x_0)."""
        inner = (x[..., 1:] * b).sum(-1, keepdim=True)
        factor = self.root**2 * inner / (1 + self.root * x[..., :1])
        origin = F.pad(1 / self.root[None], (0, x.shape[-1] - 1))
        return self._led(x, F.pad(b, (1, 0)) + factor * (origin + x), _norm(b))

    def exp(self, x: Tensor, u: Tensor) -> Tensor:
        """cosh(r) x + sinh(r) u / r, r = sqrt(c) |u|_L, of a tangent vector u at x (…, d + 1); not too far.

        |u|_L^2 is |v|^2 + w^2 / (c x_0^2) of the parts v across and w along the other coordinates of x: none cancels.
        """
        towards = x[..., 1:] / _norm(x[..., 1:])
        along = (u[..., 1:] * towards).sum(-1, keepdim=True)
        square = _square(u[..., 1:] - along * towards) + (along / (self.root * x[..., :1])).square()
        return self._led(x, u, square.clamp(min=SMALLEST).sqrt())

    def _led(self, x: Tensor, u: Tensor, length: Tensor) -> Tensor:
        """exp of tangent vectors whose lengths (…, 1) are known."""
        r = self.root * length
        bounded = r.clamp(max=FARTHEST)
        moved = (bounded.cosh() * x + bounded.sinh() / r * u)[..., 1:]
        return self.point(moved * (math.sinh(FARTHEST) / self.root / _norm(moved)).clamp(max=1))

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """d(x, y) u / |u|_L with u = y + c <x, y>_L x, the part of y that is tangent at x.

        With s = c |x - y|_L^2 / 2 that is c <x, y>_L = -1 - s and c |u|_L^2 = s (s + 2), where nothing cancels.
        """
        s = (self.root**2 * self.chord(x, y)[..., None] / 2).clamp(min=SMALLEST)
        length = (s.sqrt() * (s + 2).sqrt()) / self.root
        return self.distance(x, y)[..., None] * (y / length - (1 + s) / length * x)

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


def border(dtype: torch.dtype) -> float:
    """How near to the border of a ball points may lie, as a share of its radius."""
    return 1e-5 if dtype == torch.float64 else max(4e-3, 2 * torch.finfo(dtype).eps)


def lorentz_square(x: Tensor) -> Tensor:
    """<x, x>_L."""
    return x[..., 1:].square().sum(-1) - x[..., 0].square()


def _square(v: Tensor) -> Tensor:
    return v.square().sum(-1, keepdim=True)


def _artanh(r: Tensor) -> Tensor:
    """Up to the last number below 1 or so: what is farther is as far."""
    return torch.atanh(r.clamp(max=1 - torch.finfo(r.dtype).eps))


def _arcsin(r: Tensor) -> Tensor:
    """Up to antipodes, where its slope is infinite."""
    return torch.asin(r.clamp(max=1 - torch.finfo(r.dtype).eps))


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

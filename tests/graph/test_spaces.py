"""Spaces of constant curvature against closed forms, geoopt and each other."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.graph._parts import CoordinateTransform, TangentTransform
from zoo.graph._spaces import lorentz_square, space

X, Y = torch.tensor([[0.3, 0.4]], dtype=torch.float64), torch.tensor([[-0.2, 0.1]], dtype=torch.float64)
CURVATURES = (-0.25, -1.0, -2.5)


def geoopt(model: str) -> Any:
    """geoopt's functions of a model, `stereographic` or `lorentz`: an independent implementation."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")  # geoopt 0.5.1 with torch 2.14
        from geoopt.manifolds.lorentz import math as lorentz
        from geoopt.manifolds.stereographic import math as stereographic
    return {"lorentz": lorentz, "stereographic": stereographic}[model]


def made(name: str, curvature: float = -1.0) -> Any:
    return space(name, curvature).double()


def near(value: Tensor, *expected: float) -> None:
    """Numbers from geoopt 0.5.1 in float64, of ten digits."""
    torch.testing.assert_close(value.flatten(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-8)


def lifted(x: Tensor, curvature: float) -> Tensor:
    """The point of the hyperboloid that is one of the ball of radius R = 1/sqrt(c): 2 x / (1 - c |x|^2) and x_0."""
    rest = 2 * x / (1 + curvature * x.square().sum(-1, keepdim=True))
    point: Tensor = made("hyperboloid", curvature).point(rest)
    return point


def points(curvature: float, count: int = 6, dim: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    point: Tensor = made("ball", curvature).exp0(drawn / 2)
    return point


def test_the_ball_has_the_values_of_the_closed_forms() -> None:
    ball = made("ball")
    near(ball.conformal(X), 8 / 3)
    near(ball.sum(X, Y), 0.1573264781, 0.4925449871)
    near(ball.distance(X, Y), 1.2902128069)
    near(ball.distance(torch.zeros_like(X), X), math.log(3))
    near(ball.exp0(X), 0.2772702944, 0.3696937258)
    near(ball.log0(X), 0.3295836866, 0.4394449155)
    near(ball.exp(X, torch.tensor([[0.1, -0.2]], dtype=torch.float64)), 0.4301368969, 0.2102923469)
    near(ball.log(X, Y), -0.3857984553, -0.2919774473)


def test_the_tangent_transform_is_the_product_of_moebius() -> None:
    ball, transform = made("ball"), TangentTransform(2, 2, 0.0, bias=False).double()
    transform.weight.data = torch.tensor([[1.0, 2.0], [0.0, 1.0]], dtype=torch.float64)
    near(transform(ball, ball.log0(X)), 0.8063869566, 0.2932316206)


def test_midpoints_agree_on_ball_and_hyperboloid_and_are_not_the_tangent_mean() -> None:
    def mean(x: Tensor) -> Tensor:
        return x.mean(0, keepdim=True)

    ball, sheet, both = made("ball"), made("hyperboloid"), torch.cat([X, Y])
    near(ball.midpoint(both, mean), 0.0728363055, 0.2454853258)
    near(sheet.midpoint(lifted(both, -1.0), mean), 1.1403380550, 0.1558943164, 0.5254215848)
    near(lifted(ball.midpoint(both, mean), -1.0), 1.1403380550, 0.1558943164, 0.5254215848)
    near(ball.exp0(mean(ball.log0(both))), 0.0614989783, 0.2638278708)


def test_the_hyperboloid_has_the_values_of_the_closed_forms() -> None:
    sheet, x, y = made("hyperboloid"), lifted(X, -1.0), lifted(Y, -1.0)
    near(x, 5 / 3, 0.8, 16 / 15)
    near(y, 21 / 19, -8 / 19, 4 / 19)
    near(-1 - sheet.chord(x, y) / 2, -1.9543859649)  # <x, y>_L
    near(sheet.distance(x, y), 1.2902128069)


@pytest.mark.parametrize("curvature", CURVATURES)
def test_the_image_of_the_ball_is_isometric_in_every_operation(curvature: float) -> None:
    """A tangent vector v at the ball's origin, where the metric is 4 |dx|^2, is 2 v on the hyperboloid."""
    ball, sheet = made("ball", curvature), made("hyperboloid", curvature)
    x, b = points(curvature), torch.tensor([0.3, -0.1, 0.2], dtype=torch.float64)
    z = lifted(x, curvature)
    close: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(sheet.distance(z[:3], z[3:]), ball.distance(x[:3], x[3:]), **close)
    torch.testing.assert_close(sheet.log0(z), 2 * ball.log0(x), **close)
    torch.testing.assert_close(sheet.exp0(2 * b[None]), lifted(ball.exp0(b[None]), curvature), **close)
    torch.testing.assert_close(sheet.add(z, 2 * b), lifted(ball.add(x, b), curvature), **close)
    weights = torch.rand(4, 6, generator=torch.Generator().manual_seed(1)).double().softmax(1)
    middle = ball.midpoint(x, lambda values: weights @ values)
    torch.testing.assert_close(sheet.midpoint(z, lambda v: weights @ v), lifted(middle, curvature), **close)


@pytest.mark.parametrize("name", ["ball", "stereographic", "hyperboloid"])
@pytest.mark.parametrize("curvature", CURVATURES)
def test_logarithms_are_inverse_to_exponentials(name: str, curvature: float) -> None:
    own = made(name, curvature)
    v = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(2)).double()
    x, y = own.exp0(v[0]), own.exp0(v[1])
    torch.testing.assert_close(own.log0(x), v[0], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(own.exp(x, own.log(x, y)), y, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("distance", "tolerance"), [(5.0, 1e-10), (10.0, 1e-8), (15.0, 1e-6)])
def test_far_points_of_the_hyperboloid_keep_digits(distance: float, tolerance: float) -> None:
    """Coordinates of points that far apart differ from the differences of interest by factors of e^distance."""
    sheet, g = made("hyperboloid"), torch.Generator().manual_seed(9)
    v = torch.nn.functional.normalize(torch.randn(2, 50, 3, generator=g).double(), dim=-1) * distance / 2
    x, y = sheet.exp0(v[0]), sheet.exp0(v[1])
    torch.testing.assert_close(sheet.exp(x, sheet.log(x, y)), y, rtol=tolerance, atol=tolerance)
    bias = torch.tensor([0.3, 0.0, -0.4], dtype=torch.float64)
    moved = sheet.distance(x, sheet.add(x, bias))
    torch.testing.assert_close(moved, torch.full_like(moved, 0.5), rtol=tolerance, atol=tolerance)


def test_far_vectors_do_not_turn_round_next_to_curvature_0() -> None:
    v = torch.tensor([[1000.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(made("stereographic", -5e-6).exp0(v), made("ball", -5e-6).exp0(v))
    x = torch.tensor([[400.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(made("stereographic", -5e-6).log0(x), made("ball", -5e-6).log0(x))


@pytest.mark.parametrize("name", ["ball", "stereographic"])
@pytest.mark.parametrize("curvature", [-1.0, -0.5, 0.75, -1e-6, 0.0, 1e-6])
def test_the_stereographic_model_is_that_of_geoopt(name: str, curvature: float) -> None:
    if name == "ball" and curvature >= 0:
        pytest.skip("no ball has this curvature")
    own, theirs = made(name, curvature), geoopt("stereographic")
    x, y = (torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(6)).double() / 4).unbind()
    k = own.curvature
    close: dict[str, Any] = {"rtol": 1e-8, "atol": 1e-8}
    for found, expected in (
        (own.exp0(x), theirs.expmap0(x, k=k)),
        (own.log0(x), theirs.logmap0(x, k=k)),
        (own.sum(x, y), theirs.mobius_add(x, y, k=k)),
        (own.exp(x, y), theirs.expmap(x, y, k=k)),
        (own.log(x, y), theirs.logmap(x, y, k=k)),
        (own.distance(x, y), theirs.dist(x, y, k=k)),
        (own.point(9 * x), theirs.project(9 * x, k=k)),
    ):
        torch.testing.assert_close(found, expected, **close)


@pytest.mark.parametrize("curvature", CURVATURES)
def test_the_hyperboloid_is_that_of_geoopt(curvature: float) -> None:
    sheet, theirs = made("hyperboloid", curvature), geoopt("lorentz")
    x, y = lifted(points(curvature), curvature).split(3)
    v = torch.randn(3, 3, generator=torch.Generator().manual_seed(7)).double()
    k, tangent = -1 / sheet.curvature, torch.nn.functional.pad(v, (1, 0))
    close: dict[str, Any] = {"rtol": 1e-7, "atol": 1e-7}
    moved = theirs.parallel_transport0(x, tangent, k=k)
    torch.testing.assert_close(sheet.exp0(v), theirs.expmap0(tangent, k=k), **close)
    torch.testing.assert_close(sheet.log0(x), theirs.logmap0(x, k=k)[:, 1:], **close)
    torch.testing.assert_close(sheet.exp(x, moved), theirs.expmap(x, moved, k=k), **close)
    torch.testing.assert_close(sheet.add(x, v), theirs.expmap(x, moved, k=k), **close)
    torch.testing.assert_close(sheet.log(x, y), theirs.logmap(x, y, k=k), **close)


@pytest.mark.parametrize("curvature", [-1.0, -0.5, 0.7])
def test_midpoints_are_those_of_geoopt(curvature: float) -> None:
    own = made("stereographic", curvature)
    x = torch.rand(7, 2, generator=torch.Generator().manual_seed(3)).double() / 2
    weights = torch.rand(7, generator=torch.Generator().manual_seed(4)).double()
    expected = geoopt("stereographic").weighted_midpoint(x, k=own.curvature, weights=weights, reducedim=[0])
    torch.testing.assert_close(own.midpoint(x, lambda v: weights[None] @ v)[0], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("curvature", CURVATURES)
def test_distances_on_the_hyperboloid_are_those_of_geoopt_and_exact_for_near_points(curvature: float) -> None:
    sheet = made("hyperboloid", curvature)
    x = lifted(points(curvature), curvature)
    expected = geoopt("lorentz").dist(x[:3], x[3:], k=-1 / sheet.curvature)
    torch.testing.assert_close(sheet.distance(x[:3], x[3:]), expected, rtol=1e-9, atol=1e-9)
    direction = torch.tensor([[0.6, 0.8, 0.0]], dtype=torch.float64)
    # On a ray from the origin distances are differences of lengths. Below 1e-6, squares of lengths are lost beside 1.
    for length in (1e-3, 1e-5, 1e-6):
        found = sheet.distance(sheet.exp0(length * direction), sheet.exp0(3 * length * direction))
        assert float(found) == pytest.approx(2 * length, rel=1e-4)


@pytest.mark.parametrize(("name", "factor"), [("ball", 2.0), ("stereographic", 2.0), ("hyperboloid", 1.0)])
def test_a_vanishing_curvature_leaves_the_plane(name: str, factor: float) -> None:
    own = made(name, -1e-8)
    v = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(5)).double()
    x, y = own.exp0(v[0]), own.exp0(v[1])
    torch.testing.assert_close(own.coordinates(x), v[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(own.distance(x, y), factor * (v[0] - v[1]).norm(dim=1), rtol=0, atol=1e-6)
    torch.testing.assert_close(own.coordinates(own.add(x, v[1, 0])), v[0] + v[1, 0], rtol=0, atol=1e-6)
    torch.testing.assert_close(
        own.coordinates(own.midpoint(x, lambda u: u.mean(0, True))), v[:1].mean(1), atol=1e-6, rtol=0
    )


def test_the_stereographic_model_of_curvature_0_is_the_plane_and_a_sphere_has_great_circles() -> None:
    near(made("stereographic", 0.0).distance(X, Y), 2 * math.dist((0.3, 0.4), (-0.2, 0.1)))
    sphere = made("stereographic", 1.0)  # of radius 1: the equator is a quarter of a circle away
    near(sphere.distance(torch.zeros(1, 2).double(), torch.tensor([[0.6, 0.8]], dtype=torch.float64)), math.pi / 2)


def test_points_of_the_hyperboloid_stay_on_it() -> None:
    sheet = made("hyperboloid", -0.5)
    transform = CoordinateTransform(3, 4, 0.0).double()
    x = transform(sheet, torch.randn(5, 3).double())
    torch.testing.assert_close(lorentz_square(x), torch.full((5,), -2.0).double(), rtol=1e-9, atol=1e-9)
    flat = sheet.exp0(torch.randn(5, 3).double())
    expected = sheet.point(sheet.coordinates(flat) @ transform.weight.T)
    torch.testing.assert_close(transform(sheet, sheet.log0(flat)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["ball", "hyperboloid"])
def test_a_learned_curvature_starts_where_it_was_given_and_stays_negative(name: str) -> None:
    own: Any = space(name, -0.7, learn=True).double()
    assert float(own.curvature.detach()) == pytest.approx(-0.7, rel=1e-6)
    (rho,) = own.parameters()
    rho.data -= 20
    assert -1e-6 < float(own.curvature.detach()) < 0


@pytest.mark.parametrize("name", ["ball", "hyperboloid"])
@pytest.mark.parametrize("curvature", [0.0, 1.0])
def test_a_curvature_of_the_wrong_sign_is_refused(name: str, curvature: float) -> None:
    with pytest.raises(ValueError, match=f"curvature must be negative in a hyperbolic space, got {curvature}"):
        space(name, curvature)


def test_what_is_no_space_is_refused() -> None:
    with pytest.raises(
        ValueError, match="space must be one of 'flat', 'stereographic', 'ball', 'hyperboloid', got 'x'"
    ):
        space("x", -1.0)
    with pytest.raises(ValueError, match=r"the flat space has the fixed curvature 0, got -1\.0"):
        space("flat", -1.0)
    with pytest.raises(ValueError, match="curvature must be finite, got nan"):
        space("stereographic", math.nan)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["ball", "stereographic"])
def test_what_is_moved_inside_a_ball_lies_in_it_at_any_precision(name: str, dtype: torch.dtype) -> None:
    own: Any = space(name, -1.0).to(dtype)
    direction = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(8)), dim=1)
    own.check(moved := own.point(3 * direction.to(dtype)))
    assert own.log0(moved).isfinite().all()


def test_points_outside_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected points in the ball of radius 0\.5, got one of norm 0\.5"):
        made("ball", -4.0).check(X)
    made("ball", -3.9).check(X)
    made("stereographic", 4.0).check(X)  # the sphere has points everywhere
    with pytest.raises(ValueError, match=r"expected points with x_0 = sqrt\(1 \+ \|x\|\^2\), got one that is .* away"):
        made("hyperboloid").check(torch.ones(1, 3).double())

"""Deep equilibrium models: closed forms of affine maps, exact implicit gradients, and no answer where there is none."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.observables.differential.deep_equilibrium import Convergence, alike, gradient
from zoo.differential import ContinuousNormalisingFlow, DeepEquilibrium
from zoo.differential._fixed_point import SOLVERS, FixedPoint, Solver, equilibrium

DIM = 6


def contraction(factor: float = 0.8, dtype: torch.dtype = torch.float64) -> Tensor:
    """A matrix that is far from normal, of the given 2-norm."""
    a = torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (factor * a / torch.linalg.matrix_norm(a, 2)).to(dtype)


def inputs(size: int = 9, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(size, DIM, generator=torch.Generator().manual_seed(1), dtype=dtype)


def made(**hyperparameters: Any) -> DeepEquilibrium:
    torch.manual_seed(0)
    arguments = {"in_features": DIM, "num_classes": 3, "hidden_features": 5} | hyperparameters
    return DeepEquilibrium(**arguments).double()


@pytest.mark.parametrize("method", SOLVERS)
@pytest.mark.parametrize(("dtype", "tolerance", "within"), [(torch.float32, 1e-6, 1e-5), (torch.float64, 1e-12, 1e-10)])
def test_an_affine_map_has_the_closed_form(method: str, dtype: torch.dtype, tolerance: float, within: float) -> None:
    """z* = (I - A)^-1 x, and a loss g . z* has the gradients (I - A)^-T g for x, and that times z*^T for A."""
    a, x = contraction(dtype=dtype).requires_grad_(), inputs(dtype=dtype).requires_grad_()
    found: dict[str, FixedPoint] = {}
    solver = Solver(method, tolerance, 300)
    z = equilibrium(lambda z: z @ a.T + x, torch.zeros_like(x), solver, found.__setitem__)
    exact = torch.linalg.inv(torch.eye(DIM, dtype=torch.float64) - a.detach().double())
    torch.testing.assert_close(z.double(), (x.double() @ exact.T).detach(), rtol=within, atol=within)
    g = torch.randn(z.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for_a, for_x = torch.autograd.grad((z * g.to(dtype)).sum(), [a, x])
    u = g @ exact
    # a relative residual of the tolerance leaves an error of tolerance / (1 - 0.8)
    torch.testing.assert_close(for_x.double(), u, rtol=within, atol=within)
    torch.testing.assert_close(for_a.double(), u.T @ z.detach().double(), rtol=10 * within, atol=10 * within)
    assert all(found[way].residuals[-1] <= tolerance for way in ("forward", "backward"))


def test_anderson_on_an_affine_map_ends_within_the_dimension() -> None:
    """With memory d it is GMRES, which knows the answer after d steps; one more sees that the residual is zero."""
    a, x = contraction(), inputs()
    found = Solver("anderson", 1e-9, DIM + 2, memory=DIM).solve(lambda z: z @ a.T + x, torch.zeros_like(x))
    assert found.iterations <= DIM + 2


def test_anderson_does_not_need_a_contraction() -> None:
    x = inputs()
    found = Solver("anderson", 1e-10, 20).solve(lambda z: x - 3 * z, torch.zeros_like(x))
    torch.testing.assert_close(found.z, x / 4, rtol=1e-9, atol=1e-9)


def test_plain_iteration_contracts_at_its_rate() -> None:
    """With A = q I each residual ||z_{k+1} - z_k|| is q times the one before."""
    x = inputs()
    found = Solver("iteration", 1e-9, 100).solve(lambda z: 0.5 * z + x, torch.zeros_like(x))
    values = [2 * (1 - 0.5 ** (k + 1)) for k in range(found.iterations)]  # of ||f(z_k)|| / ||x||
    expected = [0.5**k / value for k, value in enumerate(values)]
    assert list(found.residuals) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("method", "f", "message"),
    [
        (
            "iteration",
            lambda z: 1.5 * z + 1,
            r"residual 0\.333 after 30 iterations \(iteration\), and 1e-08",
        ),
        ("anderson", lambda z: z + 1, r"residual 0\.0\d+ after 30 iterations \(anderson\)"),
        ("iteration", lambda z: (z + 2) ** 2, r"residual (nan|inf) after \d+ iterations"),
        ("anderson", lambda z: z * math.nan, r"residual nan after 1 iterations"),
    ],
)
def test_what_has_no_fixed_point_raises_with_residual_and_iterations(method: str, f: Any, message: str) -> None:
    with pytest.raises(ArithmeticError, match=message):
        Solver(method, 1e-8, 30).solve(f, torch.zeros(4, DIM, dtype=torch.float64))


def test_one_sample_that_is_not_there_yet_is_enough() -> None:
    """A map that contracts for all samples but the last by a half, and for that by 0.999."""
    rate = torch.tensor([[0.5], [0.5], [0.999]], dtype=torch.float64)
    with pytest.raises(ArithmeticError, match="equilibrium was not reached"):
        equilibrium(lambda z: rate * z + 1, torch.zeros(3, 2, dtype=torch.float64), Solver("iteration", 1e-6, 100))


def test_a_gradient_that_is_not_reached_raises_in_the_backward_pass() -> None:
    """At z = 0 the map is at rest, but its slope there is 2: forward takes one step, and backward has no end."""
    w = torch.ones((), dtype=torch.float64, requires_grad=True)
    z = equilibrium(lambda z: 2 * w * z, torch.zeros(3, DIM, dtype=torch.float64), Solver("iteration", 1e-8, 30))
    with pytest.raises(ArithmeticError, match=r"gradient's fixed point was not reached: residual \S+ after 30 "):
        z.sum().backward()


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_implicit_gradient_passes_gradcheck(solver: str) -> None:
    model, x = made(solver=solver, tolerance=1e-13), inputs(4)
    names = [name for name, _ in model.named_parameters()]
    values = [parameter.detach().clone().requires_grad_() for parameter in model.parameters()]

    def logits(x: Tensor, *given: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(model, dict(zip(names, given, strict=True)), (x,))
        return found

    assert torch.autograd.gradcheck(logits, (x.requires_grad_(), *values), atol=1e-7, check_undefined_grad=False)


def test_the_implicit_gradient_is_the_limit_of_backpropagation() -> None:
    """Through k applications the gradient's error falls like contraction^k, and not below the tolerance's."""
    model, labels = made(tolerance=1e-13), torch.arange(9) % 3
    exact = gradient(model, inputs(), labels, None)
    implicit = gradient(model, inputs(), labels, model.solver)
    assert float((implicit - exact).norm() / exact.norm()) < 1e-10  # tolerance / (1 - 0.9), and rounding
    errors = []
    for depth in (5, 15):
        shallow = made(depth=depth)
        loss = torch.nn.functional.cross_entropy(shallow(inputs()), labels)
        flat = torch.cat([p.flatten() for p in torch.autograd.grad(loss, list(shallow.parameters()))])
        errors.append(float((flat - exact).norm() / exact.norm()))
    assert errors[1] < 0.9**10 * errors[0]


def test_a_derivative_of_the_implicit_gradient_is_refused() -> None:
    x = inputs().requires_grad_()
    z = equilibrium(lambda z: 0.5 * torch.tanh(z) + x, torch.zeros_like(x), Solver())
    with pytest.raises(RuntimeError, match="the gradient through an equilibrium has no derivative"):
        torch.autograd.grad(z.sum(), x, create_graph=True)


def test_in_float32_the_gradient_is_right_to_a_tenth_of_a_permille() -> None:
    model, labels = made(), torch.arange(9) % 3
    single = alike(model).float()
    exact = gradient(model, inputs(), labels, None)
    found = gradient(single, inputs().float(), labels, single.solver)
    assert float((found - exact).norm() / exact.norm()) < 1e-4  # 1e-6 / (1 - 0.9), twice, and rounding


def saved(model: DeepEquilibrium) -> int:
    """Numbers that the graph of a forward pass keeps for the backward pass."""
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        sizes[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(inputs(50))
    assert output.requires_grad
    return sum(sizes.values())


def test_memory_does_not_grow_with_the_iterations() -> None:
    few, many = made(solver="iteration", tolerance=1e-2), made(solver="iteration", tolerance=1e-13)
    assert saved(few) == saved(many)
    assert many.found["forward"].iterations > 3 * few.found["forward"].iterations
    assert saved(made(depth=40)) > 5 * saved(many)


@pytest.mark.parametrize("scale", [0.1, 1.0, 50.0])
def test_the_layer_is_a_contraction_whatever_its_weights(scale: float) -> None:
    model = made(contraction=0.7)
    with torch.no_grad():
        model.recurrent.mul_(scale)
        f = model.cell(inputs(200))
        a, b = torch.randn(2, 200, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        assert float(((f(a) - f(b)).norm(dim=1) / (a - b).norm(dim=1)).max()) <= 0.7


def test_a_network_of_many_layers_is_the_equilibrium() -> None:
    deep, model = made(depth=400), made(tolerance=1e-12)
    torch.testing.assert_close(deep(inputs()), model(inputs()), rtol=1e-9, atol=1e-10)
    assert deep.found["forward"].iterations == 400


def test_the_step_reports_the_solution() -> None:
    model = made()
    scalars = model.step((inputs(), torch.arange(9) % 3))
    found = model.found["forward"]
    assert float(scalars["residual"]) == pytest.approx(found.residuals[-1], rel=1e-6)
    assert int(scalars["iterations"]) == found.iterations
    value = model.cell(inputs())(found.z).detach()
    largest = ((value - found.z).norm(dim=1) / value.norm(dim=1)).max()
    assert float(largest) == pytest.approx(found.residuals[-1], rel=1e-9)
    assert found.residuals[-1] <= 1e-6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: made(hidden_features=0), "hidden_features must be at least 1, got 0"),
        (lambda: made(contraction=1.5), r"contraction must lie in \(0, 1\], got 1.5"),
        (lambda: made(contraction=1.0), "contraction must be below 1, got 1"),
        (lambda: made(depth=-1), "depth must not be negative, got -1"),
        (lambda: made(solver="newton"), "solver must be one of 'anderson', 'iteration', got 'newton'"),
        (lambda: made(tolerance=0.0), "tolerance must be positive, got 0.0"),
        (lambda: made(max_iterations=0), "max_iterations must be at least 1, got 0"),
        (lambda: Convergence(steps=0), "steps must be at least 1, got 0"),
    ],
)
def test_bad_values_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_only_an_equilibrium_can_be_measured() -> None:
    other, data = ContinuousNormalisingFlow(2), None
    assert Convergence().refusal(other, data) == "ContinuousNormalisingFlow has no equilibrium"  # type: ignore[arg-type]

"""Mori-Zwanzig: the Dyson identity, operators against what they stand for, and memory that decays."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from zoo.differential import MoriZwanzig
from zoo.differential.mori_zwanzig import dyson, integrals, legendre


def made(seed: int = 0, **hyperparameters: Any) -> MoriZwanzig:
    torch.manual_seed(seed)
    return MoriZwanzig(**hyperparameters)


def projector(dim: int, rank: int) -> Tensor:
    q = torch.linalg.qr(torch.randn(dim, rank, dtype=torch.float64)).Q
    return q @ q.T


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("alike", [True, False], ids=["one", "many"])
def test_the_dyson_identity_holds_for_any_operators_and_projection(alike: bool, seed: int) -> None:
    torch.manual_seed(seed)
    operators = torch.randn(1 if alike else 6, 8, 8, dtype=torch.float64).expand(6, 8, 8)
    whole = reduce(torch.matmul, operators)
    error = torch.linalg.matrix_norm(dyson(operators, projector(8, 3)) - whole) / torch.linalg.matrix_norm(whole)
    assert float(error) < 1e-13  # rounding of products of six matrices


def test_without_a_projection_nothing_streams_and_with_all_of_it_nothing_is_unseen() -> None:
    torch.manual_seed(0)
    operators = torch.randn(3, 4, 4, dtype=torch.float64)
    for projection in (torch.zeros(4, 4).double(), torch.eye(4).double()):
        torch.testing.assert_close(dyson(operators, projection), reduce(torch.matmul, operators))


def test_polynomials_and_their_integrals_are_numpys() -> None:
    u = torch.linspace(-1, 1, 7).double()
    for k in range(6):
        basis = np.polynomial.legendre.Legendre.basis(k)
        torch.testing.assert_close(legendre(u, 6)[:, k], torch.from_numpy(basis(u.numpy())))
        theirs = torch.from_numpy(basis.integ()(u.numpy()))
        ours = integrals(u, 6)[:, k]
        torch.testing.assert_close(ours - ours[0], theirs - theirs[0])


def test_a_layer_keeps_constants_and_makes_moments_of_the_noise() -> None:
    """K 1 = 1, (K y)(x) = t and (K y^2)(x) = t^2 + a^2 / 3 for t = tanh(w x + b)."""
    model = made(layers=1, noise=0.4, basis=48)
    (operator,) = model.operators
    first = torch.zeros(48).double()
    first[0] = 1
    torch.testing.assert_close(operator[:, 0], first, rtol=0, atol=1e-12)
    x = torch.linspace(-1.4, 1.4, 21).double()[:, None]
    t = torch.tanh(model.weight * x + model.bias)
    torch.testing.assert_close(model(x), t, rtol=0, atol=1e-7)  # tanh by 48 polynomials
    square = torch.zeros(48).double()  # y^2 = r^2 (2 P_2 + P_0) / 3
    square[0], square[2] = model.radius**2 / 3, 2 * model.radius**2 / (3 * math.sqrt(5))
    found = model._polynomials(x[:, 0] / model.radius) @ (operator @ square)
    torch.testing.assert_close(found, t[:, 0] ** 2 + 0.4**2 / 3, rtol=0, atol=1e-7)


def test_expectations_are_those_of_simulated_networks() -> None:
    model, size = made(1, layers=4, gain=2.0), 200_000
    starts = torch.tensor([[-1.0], [0.2], [0.9]]).double()
    generator = torch.Generator().manual_seed(0)
    state = starts.expand(3, size)
    for w, b in zip(model.weight, model.bias, strict=True):
        noise = 2 * torch.rand(3, size, generator=generator, dtype=torch.float64) - 1
        state = torch.tanh(w * state + b) + model.noise * noise
    z = (state.mean(1) - model(starts)[:, 0]) / (state.std(1) / math.sqrt(size))
    assert bool((z.abs() < 4).all())


@pytest.mark.parametrize("rank", [1, 4])
def test_memory_decays_at_least_as_the_norms_say(rank: int) -> None:
    model = made(layers=6, noise=0.8, rank=rank)
    found = {name: float(value) for name, value in model.step((torch.rand(10, 1) * 2 - 1,)).items()}
    assert found["identity"] < 1e-13
    assert found["decay"] <= found["contraction"] < 1
    assert found["memory"] <= found["contraction"] ** 6
    norms = torch.linalg.matrix_norm(model.memories(), 2)
    assert float(norms[-1]) == found["memory"]
    assert bool((norms[1:] <= found["contraction"] * norms[:-1] * (1 + 1e-12)).all())


@pytest.mark.parametrize("noise", [0.5, 1.25])
@pytest.mark.parametrize("gain", [1.0, 20.0])
def test_no_layer_is_larger_than_the_noise_allows(gain: float, noise: float) -> None:
    """||Q K||_HS^2 = (1 + a) / a - ||P K||_HS^2 <= 1 / a, with the kernel 1 / 2a on an interval of length 2a."""
    for operator in made(noise=noise, gain=gain, basis=48).operators:
        assert float(operator[1:].square().sum()) <= 1 / noise


def test_more_polynomials_change_little() -> None:
    coarse, fine = made(basis=32, noise=0.5), made(basis=64, noise=0.5)
    x = torch.rand(50, 1).double() * 2 - 1
    torch.testing.assert_close(coarse(x), fine(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise": 0.0}, "noise must be positive, got 0.0"),
        ({"layers": 0}, "layers must be at least 1, got 0"),
        ({"rank": 32}, "rank must be below the basis, 32, got 32"),
        ({"in_features": 2}, "in_features must be 1, a state on a line, got 2"),
    ],
)
def test_bad_values_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MoriZwanzig(**arguments)

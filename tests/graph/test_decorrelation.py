"""Weights that make variables independent: the penalty's closed form, its two limits, and what the weights reach."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from zoo.graph import _decorrelation as module


def written_out(weights: Tensor, u: Tensor, v: Tensor) -> float:
    """OOD-GNN's penalty: all pairs of variables and of functions, one by one."""
    total, mass = 0.0, weights.sum()
    for i in range(u.shape[1]):
        for j in range(i + 1, u.shape[1]):
            for k in range(u.shape[2]):
                for m in range(u.shape[2]):
                    a, b = u[:, i, k], v[:, j, m]
                    joint, apart = (weights * a * b).sum() / mass, (weights * a).sum() * (weights * b).sum() / mass**2
                    total += float(joint - apart) ** 2
    return total


def drawn(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(seed)
    z = torch.randn(40, 5, dtype=torch.float64)
    return module.normalised(torch.randn(40, dtype=torch.float64)), module.fourier(z, 3), module.fourier(z, 3)


def test_clusters_of_one_variable_are_full_decorrelation() -> None:
    weights, u, v = drawn()
    full = float(module.penalty(weights, u, v, torch.arange(5)))
    assert full == pytest.approx(written_out(weights, u, v), rel=1e-10)


def test_a_cluster_leaves_out_its_own_pairs_and_no_other() -> None:
    weights, u, v = drawn()
    clusters = torch.tensor([0, 1, 0, 2, 1])
    inside = [(0, 2), (1, 4)]
    own = sum(written_out(weights, u[:, [i, j]], v[:, [i, j]]) for i, j in inside)
    expected = written_out(weights, u, v) - own
    assert float(module.penalty(weights, u, v, clusters)) == pytest.approx(expected, rel=1e-10)


def test_one_cluster_has_no_penalty_and_weights_stay_1() -> None:
    weights, u, v = drawn()
    same = torch.zeros(5, dtype=torch.int64)
    assert float(module.penalty(weights, u, v, same)) == 0.0
    z = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    learned, value = module.learned_weights(z, same, functions=5, steps=50, rate=10.0, spread=0.001)
    assert float(value) == 0.0
    assert torch.equal(learned, torch.ones(64))  # 64 and its inverse are exact in binary


def correlation(z: Tensor, weights: Tensor) -> float:
    share = weights / weights.sum()
    centred = z - share @ z
    covariance = (share[:, None] * centred).T @ centred
    return float(covariance[0, 1] / (covariance[0, 0] * covariance[1, 1]).sqrt())


@pytest.mark.parametrize("seed", range(3))
def test_a_correlation_that_half_of_the_samples_cause_is_weighted_away(seed: int) -> None:
    """z1 = z2 ~ N(0, 9) in one half and both N(0, 1) by themselves in the other: a correlation of 9 / (9 + 1) = 0.9."""
    torch.manual_seed(seed)
    z = torch.randn(1000, 2)
    z[:500] = 3 * z[:500, :1]
    assert correlation(z, torch.ones(1000)) == pytest.approx(0.9, abs=0.02)
    weights, _ = module.learned_weights(z, torch.arange(2), functions=10, steps=100, rate=10.0, spread=0.0003)
    assert abs(correlation(z, weights)) < 0.2
    assert float(weights.sum() ** 2 / weights.square().sum()) > 0.5 * len(z)
    assert float(weights.mean()) == pytest.approx(1, abs=1e-5)
    assert float(weights.min()) > 0


def test_weights_of_the_past_stay_and_count() -> None:
    """Of rows whose correlation the past alone has, new ones get weights against it: negative products weigh more."""
    torch.manual_seed(0)
    past = torch.randn(300, 1).repeat(1, 2)
    new = torch.randn(300, 2)
    z = torch.cat([past, new])
    weights, _ = module.learned_weights(z, torch.arange(2), 10, 100, 5.0, 0.001, past=torch.ones(300))
    assert weights.shape == (300,)
    product = new[:, 0] * new[:, 1]
    assert float(weights[product < -0.3].mean()) > 1.1 * float(weights[product > 0.3].mean())


def test_functions_have_the_gaussian_kernel_as_their_mean_product() -> None:
    """E u(x) u(y) = exp(-(x - y)^2 / 2), within four deviations of the mean of 40,000, each at most 2."""
    torch.manual_seed(0)
    z = torch.tensor([[0.0], [0.7], [2.0]])
    u = module.fourier(z, 40_000)[:, 0]
    kernel = (-(z - z.T).square() / 2).exp()
    torch.testing.assert_close(u @ u.T / 40_000, kernel, atol=4 * 2 / math.sqrt(40_000), rtol=0)


def test_dissimilarity_is_the_spread_of_a_correlation_between_groups() -> None:
    """Two variables that are equal in one group and opposite in the other: 1 and -1, so 1; equal in both: 0."""
    x = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    groups = torch.stack([x, x * torch.tensor([[1.0], [-1.0]]), 3 * x + 2], 2)
    there = torch.ones(2, 50, dtype=torch.bool)
    found = module.dissimilarity(groups, there)
    expected = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    longer = torch.cat([groups, torch.full((2, 3, 3), 99.0)], 1)
    rows = torch.cat([there, torch.zeros(2, 3, dtype=torch.bool)], 1)
    torch.testing.assert_close(module.dissimilarity(longer, rows), found)


def test_clusters_are_those_of_well_separated_points() -> None:
    centres = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    own = torch.tensor([2, 0, 1, 1, 0, 2, 2, 0])
    points = centres[own] + 0.1 * torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    found = module.clustered(points, 3)
    assert torch.equal(found[:, None] == found, own[:, None] == own)
    assert torch.equal(module.clustered(torch.zeros(4, 4), 3), torch.zeros(4, dtype=torch.int64))


def test_a_column_that_does_not_vary_is_zero() -> None:
    z = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    assert torch.equal(module.standardised(z), torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))

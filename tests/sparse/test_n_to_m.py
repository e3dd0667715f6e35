"""N:M sparsity: as many of every few neighbours (Mishra et al., 2021)."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from zoo.sparse import FullyConnected, NToM
from zoo.sparse.n_to_m import largest_in_groups


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (3, 3), (4, 8)])
def test_every_group_of_a_row_keeps_its_largest(n: int, m: int) -> None:
    torch.manual_seed(0)
    weight = torch.randn(5, 24)
    kept = largest_in_groups(weight, n, m)
    for row, group in itertools.product(range(5), range(24 // m)):
        part = slice(m * group, m * group + m)
        own, sizes = kept[row, part], weight[row, part].abs()
        assert int(own.sum()) == n
        assert n == m or sizes[own].min() > sizes[~own].max()


def test_a_kernel_is_grouped_in_the_order_of_its_memory() -> None:
    """(n_in, k, k) flat: with two input channels of 1 × 2 kernels, a group of four is all that a unit receives."""
    weight = torch.tensor([[[[1.0, -4.0]], [[3.0, 2.0]]]])
    assert largest_in_groups(weight, 2, 4).tolist() == [[[[False, True]], [[True, False]]]]
    assert largest_in_groups(weight, 1, 2).tolist() == [[[[False, True]], [[True, False]]]]


def test_of_equal_weights_as_many_are_kept() -> None:
    assert torch.equal(largest_in_groups(torch.zeros(3, 8), 2, 4).view(-1, 4).sum(1), torch.full((6,), 2))


def test_the_density_is_exact_and_rows_that_do_not_divide_are_left_out() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3), nn.Linear(6, 5), nn.Linear(8, 2))
    masked = NToM(2, 4).install(model)
    assert list(masked.masks) == ["1.weight", "3.weight"]  # rows of 27, 36, 6 and 8
    masked.set(NToM(2, 4).update(masked, 0))
    assert masked.density == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 5, "m": 4}, "n must be at most m, 4, of which it is the number kept, got 5"),
        ({"n": 0}, "n must be at least 1, got 0"),
        ({"at": -0.5}, r"at must lie in \[0, 1\), a share of the training's steps, got -0.5"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NToM(**arguments)


def test_a_model_without_a_row_that_divides_is_refused_before_the_training() -> None:
    refused = NToM(2, 4).refusal(FullyConnected(9, 2, (5,)), None)
    assert refused == (
        "FullyConnected has no weights to mask by 2:4, as no row is a multiple of 4: layers.0.weight has rows of 9, "
        "layers.1.weight has rows of 5"
    )

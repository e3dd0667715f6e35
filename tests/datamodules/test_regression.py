"""Regression between vectors: the oscillating map of Cohen, Cont, Rossier and Xu (2021)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from datamodules import OscillatingFlow


def test_points_and_images_have_unit_length_and_belong_to_seed_and_split() -> None:
    first, again, other = OscillatingFlow(seed=0), OscillatingFlow(seed=0), OscillatingFlow(seed=1)
    for split, size in {"train": 1024, "val": 256, "test": 256}.items():
        x, y = first.load(split)
        assert x.shape == y.shape == (size, 10)
        # a unit vector's rounding to float32
        torch.testing.assert_close(x.norm(dim=1), torch.ones(size), rtol=0, atol=1e-6)
        torch.testing.assert_close(y.norm(dim=1), torch.ones(size), rtol=0, atol=1e-6)
        assert torch.equal(x, again.load(split)[0])
        assert not torch.equal(x, other.load(split)[0])
    assert not torch.equal(first.load("val")[0], first.load("test")[0])


@pytest.mark.parametrize("steps", [1, 2, 100])
def test_the_map_is_that_of_the_definition(steps: int) -> None:
    """Against a loop over single numbers in plain Python; one step from 0 is tanh(1) / sqrt(n)."""
    data = OscillatingFlow(dim=3, steps=steps)
    start = np.array([0.0, -0.5, 0.9])
    expected = []
    for first in start:
        z = first
        for t in range(steps):
            angle = 5 * math.pi * t / steps
            z += steps**-0.5 * math.tanh(math.sin(angle) * z + math.cos(angle))
        expected.append(z)
    # a hundred steps of float64 rounding
    np.testing.assert_allclose(data.carried(torch.from_numpy(start)).numpy(), expected, rtol=1e-12, atol=1e-12)
    if steps == 1:
        assert expected[0] == math.tanh(1)


@pytest.mark.parametrize("name", ["dim", "steps", "train_size", "val_size", "test_size", "batch_size"])
def test_sizes_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        OscillatingFlow(**{name: 0})

"""Arcs of spirals: their law, what is seen of them, and the numbers that come with a batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from datamodules import SpiralArcs


def test_arcs_are_parts_of_one_spiral_in_two_senses() -> None:
    data = SpiralArcs(train_size=40, test_size=40)
    for split, latest, end, length in (("train", 2.5, 1.5, 18), ("test", 2.0, 2.0, 24)):
        points, times = data.truth(split).double(), data.load(split)[2].double()
        assert points.shape == (40, length, 2)
        angle = np.unwrap(torch.atan2(points[..., 1], points[..., 0]).numpy(), axis=1)
        sense = 1.0 - 2 * (torch.arange(40) % 2)
        turned = torch.from_numpy(angle - angle[:, :1]) * sense[:, None]
        torch.testing.assert_close(turned, times - times[:, :1], rtol=0, atol=1e-5)  # float32
        phase = points.norm(dim=-1) / 0.15 - times
        torch.testing.assert_close(phase, phase[:, :1].expand_as(phase), rtol=0, atol=1e-5)
        assert math.pi < float(phase.min()) < float(phase.max()) < latest * math.pi
        assert 0 < float(times.min()) < float(times.max()) < end * math.pi + 1e-3


def test_half_a_turn_is_seen_of_what_is_held_out_and_as_much_as_asked_for_is_lost() -> None:
    values, mask, times, _ = SpiralArcs(test_size=400).load("test")
    seen = times <= math.pi
    assert not mask[~seen].any()
    assert not values[~mask].any()
    count = seen.sum(1)
    lost = torch.minimum((0.25 * count).round(), count - 1)
    for channel in range(2):
        assert torch.equal(mask[..., channel].sum(1), (count - lost).long())
    assert mask[:, 0].all()
    _, mask, times, _ = SpiralArcs(missing=0.0).load("train")
    until = torch.where(mask.all(-1), times, 0.0).amax(1)
    assert float(until.max()) < 1.5 * math.pi
    # uniform on [pi/2, 3/2 pi], and a gap of a twelfth pi earlier at the last time before; deviation 0.9 / sqrt(1000)
    assert float(until.mean()) == pytest.approx(math.pi * (1 - 1 / 12), abs=0.12)


def test_observations_differ_from_the_truth_by_the_noise_asked_for() -> None:
    data = SpiralArcs(test_size=400, noise=0.2)
    values, mask, _, normals = data.load("test")
    difference = (values - data.truth("test"))[mask].double()
    count = len(difference)  # of normals: four deviations of their deviation and of their mean
    assert float(difference.std()) == pytest.approx(0.2, rel=4 / math.sqrt(2 * count))
    assert float(difference.mean()) == pytest.approx(0, abs=0.2 * 4 / math.sqrt(count))
    assert normals.shape == (400, 4)


def test_normals_are_drawn_anew_for_each_training_batch_and_by_its_place_alone() -> None:
    data, again = SpiralArcs(train_size=100), SpiralArcs(train_size=100)
    first, second = (b[3] for b in data.train_dataloader())
    assert not torch.isclose(first, second).any()
    assert torch.equal(first, next(iter(again.train_dataloader()))[3])
    assert torch.equal(next(iter(data.test_dataloader()))[3], data.load("test")[3])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpiralArcs(length=3), "length must be at least 4, got 3"),
        (lambda: SpiralArcs(noise=0.0), "noise must be positive, got 0.0"),
        (lambda: SpiralArcs(missing=1.0), r"missing must lie in \[0, 1\), got 1.0"),
        (lambda: SpiralArcs(train_size=0), "train_size must be at least 1, got 0"),
        (lambda: SpiralArcs(latent_features=0), "latent_features must be at least 1, got 0"),
    ],
)
def test_bad_values_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()

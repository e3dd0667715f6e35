"""A stacked batch is the batches of its members, whatever the way in which it was picked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from datamodules import Digits, OddTarget
from datamodules._arrays import BatchLoader
from datamodules._stacked import Stacked
from tests.benchmarks.shapes import Line
from tests.benchmarks.stackable import Cloud, Doubled, Jittered
from tests.benchmarks.unstackable import Ragged


class Halved(OddTarget):
    """Serves half of what it draws."""

    def loader(self, split: str) -> BatchLoader:
        plain = super().loader(split)
        return BatchLoader(lambda epoch, at: tuple(t[::2] for t in plain.batch(epoch, at)), len(plain))


MAKERS: dict[str, Callable[[int], Any]] = {
    "one copy of the arrays": lambda seed: Digits(batch_size=100, seed=seed),
    "arrays that turn out the same": lambda seed: Line(44, 8, seed),
    "arrays of each seed": lambda seed: Cloud(seed=seed),
    "a loader of one's own": lambda seed: Doubled(seed=seed),
    "a stream with a loader of one's own": lambda seed: Halved(
        dim=4, batch_size=32, steps_per_epoch=130, val_size=700, test_size=30, seed=seed
    ),
    "augmented": lambda seed: Jittered(44, 8, seed),
    "drawn fresh": lambda seed: OddTarget(
        dim=4, batch_size=32, steps_per_epoch=130, val_size=700, test_size=30, seed=seed
    ),
}


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("name", MAKERS)
def test_row_k_is_the_batch_of_member_k(name: str, split: str) -> None:
    make = MAKERS[name]
    together: BatchLoader = Stacked([make(seed) for seed in range(3)]).loader(split)
    for number in range(3):
        own = make(number).loader(split)
        assert len(together) == len(own)
        for epoch in (0, 2):
            for position in (0, 1, len(own) - 1, 0):
                if position < len(own):
                    rows, batch = together.batch(epoch, position), own.batch(epoch, position)
                    assert all(torch.equal(row[number], tensor) for row, tensor in zip(rows, batch, strict=True))


def test_seeds_share_one_copy_of_what_is_the_same() -> None:
    members = [Line(44, 8, seed) for seed in range(3)]
    Stacked(members).loader("train")
    assert len({member.tensors("train")[0].data_ptr() for member in members}) == 1


def test_arrays_of_each_seed_exist_once() -> None:
    members = [Cloud(seed=seed) for seed in range(3)]
    Stacked(members).loader("train")
    storages = {member.tensors("train")[0].untyped_storage().data_ptr() for member in members}
    assert len(storages) == 1, "each member's are a view of the stacked ones"


def test_splits_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"train: the seeds have \[5, 6\] batches"):
        Stacked([Jittered(44, 8), Jittered(40, 8)]).loader("train")


def test_arrays_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the seeds have arrays of the shapes \[\(38, 2\), \(39, 2\)\]: unequal"):
        Stacked([Ragged(seed=1), Ragged(seed=2)]).loader("train")


@pytest.mark.parametrize(("batch_size", "steps", "most"), [(32, 130, 64), (512, 100, 32), (100_000, 3, 1), (1, 7, 64)])
def test_a_stream_is_drawn_in_blocks_without_waste(batch_size: int, steps: int, most: int) -> None:
    data = OddTarget(dim=3, batch_size=batch_size, steps_per_epoch=steps)
    per_block, blocks = data.blocks
    assert per_block <= most
    assert 0 <= per_block * blocks - steps < blocks


def test_batches_of_a_stream_are_all_different_and_belong_to_their_position() -> None:
    loader = OddTarget(dim=3, batch_size=4, steps_per_epoch=130).loader("train")
    batches = [loader.batch(epoch, position)[0] for epoch in range(2) for position in range(130)]
    assert len({tuple(batch.flatten().tolist()) for batch in batches}) == 260
    for position in (129, 0, 64, 65):
        assert torch.equal(loader.batch(1, position)[0], batches[130 + position])

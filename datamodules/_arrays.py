"""Batches as a function of (seed, split, epoch, position), and the data module that serves them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from datamodules._spec import Spec

SPLITS = ("train", "val", "test")
BLOCK = 16_384  # samples that a stream draws at once, at most


def generator(
    seed: int, split: str, epoch: int, position: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """The random numbers of one batch: independent streams for different keys, equal ones for equal keys."""
    key = np.random.SeedSequence([seed, SPLITS.index(split), epoch, position])
    return torch.Generator(device).manual_seed(int(key.generate_state(1, np.uint64)[0] >> np.uint64(1)))


class BatchLoader:
    """Iterates over `batch(epoch, position)` for position = 0 … length - 1.

    Nothing but its epoch and position is state, so a restored loader continues with the batches that an
    uninterrupted one would have yielded.
    """

    def __init__(self, batch: Callable[[int, int], Any], length: int) -> None:
        self.batch = batch
        self.length = length
        self.epoch = 0
        self.position = 0  # batches yielded so far
        self.start = 0  # where the next iteration begins: after those of a restored state

    @property
    def batch_sampler(self) -> SimpleNamespace:
        """Lightning announces a new epoch to the sampler of a loader's batch sampler: to the loader itself here."""
        return SimpleNamespace(sampler=self)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        start, self.start = self.start, 0
        for position in range(start, self.length):
            self.position = position + 1
            yield self.batch(self.epoch, position)

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.start = self.position = state["position"] % max(self.length, 1)


class BatchDataModule(pl.LightningDataModule):
    """Serves batches by (seed, split, epoch, position) on the trainer's device, sharded over its ranks.

    batch_size is that of one process. A subclass gives `spec` and `loader(split)`; a split without samples has
    no loader.
    """

    eval_batch_size: ClassVar[int] = 512
    #: Modules worth importing once before the worker processes start.
    libraries: ClassVar[tuple[str, ...]] = ()
    #: The data must be fetched from a network when its files are not there.
    downloads: ClassVar[bool] = False
    #: The data's licence, where it is known for certain.
    licence: ClassVar[str] = ""
    #: BibTeX of what to cite for the data.
    citation: ClassVar[str] = ""

    def __init__(self, batch_size: int, seed: int) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.batch_size = batch_size
        self.seed = seed

    @property
    def spec(self) -> Spec:
        """Shapes and sizes, without loading tensors where the source allows it."""
        raise NotImplementedError(f"{type(self).__name__} declares no spec")

    def __str__(self) -> str:
        """Name, sizes and shapes: Lightning's own asks its loaders for a dataset, which these do not have."""
        sizes = ", ".join(f"{split} {size}" for split, size in self.spec.sizes.items())
        shapes = ", ".join(str(("B", *field.shape)).replace("'", "") for field in self.spec.batch)
        return f"{type(self).__name__}: {sizes}; batches of {shapes}"

    @property
    def preprocessing(self) -> list[list[Any]]:
        """The steps from `raw` to what the batches hold, as plain data: `["divide", a]`, `["subtract", a]`,
        `["at_least", a]` and `["at_most", a]` on every value, `["standardise", ddof]` on each series along the last
        axis; a list of numbers has one for each entry of that. They are for the first tensor alone. None, unless
        overridden.
        """
        return []

    def loader(self, split: str) -> BatchLoader:
        """The batches of a split."""
        raise NotImplementedError(f"{type(self).__name__} defines no loader")

    @property
    def device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    @property
    def rank_and_world(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _held_out(self, arrays: tuple[Tensor, ...]) -> BatchLoader:
        """This rank's share of a held-out split in order, in as many batches as every other rank takes."""
        rank, world = self.rank_and_world
        own, size = tuple(array[rank::world] for array in arrays), self.eval_batch_size
        count, samples = math.ceil(math.ceil(len(arrays[0]) / world) / size), len(own[0])
        if samples > size * (count - 1):
            edges = [min(position * size, samples) for position in range(count + 1)]
        else:  # a sample less than another rank, and by that a batch: the batches are smaller instead
            edges = [position * samples // count for position in range(count + 1)]

        def batch(_epoch: int, position: int) -> tuple[Tensor, ...]:
            return tuple(array[edges[position] : edges[position + 1]] for array in own)

        return BatchLoader(batch, count)

    def _loaders(self, split: str) -> Any:
        return self.loader(split) if self.spec.sizes.get(split) else []

    def train_dataloader(self) -> Any:
        return self._loaders("train")

    def val_dataloader(self) -> Any:
        return self._loaders("val")

    def test_dataloader(self) -> Any:
        return self._loaders("test")


class ArrayDataModule(BatchDataModule):
    """Whole splits as tensors, on the device once; a batch is an indexing.

    The training split is shuffled anew each epoch by a permutation that depends on (seed, epoch) alone; the last
    batch may be smaller unless drop_last. A subclass gives `spec`, `load(split)` and, for augmentation,
    `transform`.
    """

    #: The arrays depend on the seed; where they do not, seeds that train together share one copy.
    seeded: ClassVar[bool] = True

    def __init__(self, batch_size: int, seed: int, drop_last: bool = False) -> None:
        super().__init__(batch_size, seed)
        self.drop_last = drop_last
        self._placed: dict[str, tuple[Tensor, ...]] = {}
        self._order: tuple[int, Tensor] | None = None

    def load(self, split: str) -> tuple[Tensor, ...]:
        """The tensors of a split on the host, samples along the first axis, in the order of `spec.batch`."""
        raise NotImplementedError(f"{type(self).__name__} defines no load")

    def raw(self, split: str) -> tuple[Tensor, ...]:
        """The tensors of a split on the host, the first of them before preprocessing."""
        return self.load(split)

    def transform(self, batch: tuple[Tensor, ...], generator: torch.Generator) -> tuple[Tensor, ...]:
        """Augments a training batch; its random numbers come from the generator (on the host) alone."""
        return batch

    def tensors(self, split: str) -> tuple[Tensor, ...]:
        """The tensors of a split, on the device."""
        if split not in self._placed or self._placed[split][0].device != self.device:
            self._placed[split] = tuple(t.to(self.device) for t in self.load(split))
        return self._placed[split]

    def loader(self, split: str) -> BatchLoader:
        return self._shuffled() if split == "train" else self._held_out(self.tensors(split))

    @property
    def share(self) -> int:
        """The training samples of one rank: every rank takes as many steps, and what is left over waits an epoch."""
        return len(self.tensors("train")[0]) // self.rank_and_world[1]

    @property
    def length(self) -> int:
        """The training batches of an epoch."""
        return self.share // self.batch_size if self.drop_last else math.ceil(self.share / self.batch_size)

    def order(self, epoch: int) -> Tensor:
        """The training samples of an epoch in the order in which this rank takes them, as indices on the device."""
        if self._order is None or self._order[0] != epoch or self._order[1].device != self.device:
            rank, world = self.rank_and_world
            shuffled = torch.randperm(len(self.tensors("train")[0]), generator=generator(self.seed, "train", epoch))
            self._order = epoch, shuffled[rank : self.share * world : world].to(self.device)
        return self._order[1]

    def _shuffled(self) -> BatchLoader:
        arrays, size = self.tensors("train"), self.batch_size
        rank, world = self.rank_and_world

        def batch(epoch: int, position: int) -> tuple[Tensor, ...]:
            chosen = self.order(epoch)[position * size : (position + 1) * size]
            picked = tuple(array[chosen] for array in arrays)
            if type(self).transform is ArrayDataModule.transform:
                return picked
            return self.transform(picked, generator(self.seed, "train", epoch, 1 + position * world + rank))

        return BatchLoader(batch, self.length)


class StreamDataModule(BatchDataModule):
    """Fresh samples in every batch: training on the population risk.

    `spec.sizes` counts the training batches of an epoch and the samples of the held-out splits; these are drawn
    once and stay. A subclass gives `spec` and `sample`.
    """

    def sample(self, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """`size` fresh samples, on the generator's device."""
        raise NotImplementedError(f"{type(self).__name__} defines no sample")

    def held_out(self, split: str) -> tuple[Tensor, ...]:
        """The fixed samples of a held-out split, the same on every device."""
        return tuple(t.to(self.device) for t in self.raw(split))

    def raw(self, split: str) -> tuple[Tensor, ...]:
        """The fixed samples of a held-out split on the host, the first tensor before preprocessing."""
        return self.sample(self.spec.sizes[split], generator(self.seed, split, 0))

    @property
    def blocks(self) -> tuple[int, int]:
        """How many training batches are drawn at once, and how many such blocks an epoch of all ranks has."""
        batches = self.spec.sizes["train"] * self.rank_and_world[1]
        blocks = math.ceil(batches / max(1, min(64, BLOCK // self.batch_size)))
        return math.ceil(batches / blocks), blocks

    def block(self, epoch: int, number: int) -> tuple[Tensor, ...]:
        """The samples of a block of training batches, on the device: one draw costs as much as one batch's would."""
        return self.sample(self.blocks[0] * self.batch_size, generator(self.seed, "train", epoch, number, self.device))

    def loader(self, split: str) -> BatchLoader:
        if split == "train":
            return self.streaming(self.block)
        return self._held_out(self.held_out(split))

    def streaming(self, block: Callable[[int, int], tuple[Tensor, ...]], axis: int = 0) -> BatchLoader:
        """The training batches, cut along an axis from blocks that are drawn when they are needed."""
        (rank, world), (per_block, _), size = self.rank_and_world, self.blocks, self.batch_size
        drawn: dict[tuple[int, int], tuple[Tensor, ...]] = {}

        def fresh(epoch: int, position: int) -> tuple[Tensor, ...]:
            number, place = divmod(position * world + rank, per_block)
            if (epoch, number) not in drawn:
                drawn.clear()
                drawn[epoch, number] = block(epoch, number)
            return tuple(t.narrow(axis, place * size, size) for t in drawn[epoch, number])

        return BatchLoader(fresh, self.spec.sizes["train"])

"""Batches of several data modules that differ in their seed, stacked: one batch a replica along the first axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from datamodules._arrays import ArrayDataModule, BatchDataModule, BatchLoader, StreamDataModule
from datamodules._spec import Spec

Batch = tuple[Tensor, ...]
#: What Lightning calls on the data module that it is given: on a stack, not on its members. Each is tested by itself.
UNCALLED = (
    *("setup", "teardown", "train_dataloader", "val_dataloader", "_loaders", "on_exception"),
    *("transfer_batch_to_device", "on_before_batch_transfer", "on_after_batch_transfer"),
    *("state_dict", "load_state_dict"),
)


def joins(kind: Any) -> bool:
    """Whether data modules of a class can be stacked: they serve batches by `loader`, without hooks of their own."""
    return (
        isinstance(kind, type)
        and issubclass(kind, BatchDataModule)
        and all(getattr(kind, name) is getattr(BatchDataModule, name) for name in UNCALLED)
    )


class Stacked(BatchDataModule):
    """The batches of K data modules as one: tensors of shape (K, B, …), row k what the k-th module alone would give.

    Raises ValueError where the modules have splits of different lengths.
    """

    def __init__(self, members: Sequence[BatchDataModule]) -> None:
        super().__init__(members[0].batch_size, members[0].seed)
        self.members = tuple(members)

    @property
    def spec(self) -> Spec:
        return self.members[0].spec

    def prepare_data(self) -> None:
        self.members[0].prepare_data()

    def loader(self, split: str) -> BatchLoader:
        for member in self.members:
            member.trainer = self.trainer
        first = self.members[0]
        if _keeps(first, ArrayDataModule, "loader", "transform", "_shuffled", "_held_out"):
            return _arrays(self.members, split)  # type: ignore[arg-type]
        if split == "train" and _keeps(first, StreamDataModule, "loader", "streaming"):
            return first.streaming(self._block, axis=1)  # type: ignore[attr-defined]
        return _batches(self.members, split)

    def _block(self, epoch: int, number: int) -> Batch:
        return _stack([member.block(epoch, number) for member in self.members])  # type: ignore[attr-defined]


def _keeps(member: BatchDataModule, kind: type[BatchDataModule], *names: str) -> bool:
    """Whether a module does these things in the way of its kind, for which there is a faster way."""
    return isinstance(member, kind) and all(getattr(type(member), name) is getattr(kind, name) for name in names)


def _batches(members: Sequence[BatchDataModule], split: str) -> BatchLoader:
    """Whatever the members yield, batch by batch."""
    loaders = [member.loader(split) for member in members]
    if len({len(loader) for loader in loaders}) > 1:
        raise ValueError(f"{split}: the seeds have {sorted({len(loader) for loader in loaders})} batches: unequal")
    return BatchLoader(lambda epoch, at: _stack([loader.batch(epoch, at) for loader in loaders]), len(loaders[0]))


def _arrays(members: Sequence[ArrayDataModule], split: str) -> BatchLoader:
    """One indexing for all members; arrays that are the same for all of them exist once."""
    shared, arrays = _placed(members, split)
    if split == "train":
        return BatchLoader(_shuffled(members, shared, arrays), members[0].length)
    total, size = len(members[0].tensors(split)[0]), members[0].eval_batch_size

    def in_order(_epoch: int, at: int) -> Batch:
        part = tuple(t.narrow(0 if shared else 1, at * size, min(size, total - at * size)) for t in arrays)
        return tuple(tensor.expand(len(members), *tensor.shape) for tensor in part) if shared else part

    return BatchLoader(in_order, math.ceil(total / size))


def _shuffled(members: Sequence[ArrayDataModule], shared: bool, arrays: Batch) -> Callable[[int, int], Batch]:
    size, rows = members[0].batch_size, torch.arange(len(members), device=members[0].device)[:, None]
    orders: dict[int, Tensor] = {}

    def batch(epoch: int, at: int) -> Batch:
        if epoch not in orders:
            orders.clear()
            orders[epoch] = torch.stack([member.order(epoch) for member in members])
        chosen = orders[epoch][:, at * size : (at + 1) * size]
        return tuple(array[chosen] if shared else array[rows, chosen] for array in arrays)

    return batch


def _placed(members: Sequence[ArrayDataModule], split: str) -> tuple[bool, Batch]:
    """Whether all members have the same arrays, and these; or else theirs stacked, of which each keeps its own view."""
    first = members[0].tensors(split)
    if not any(member.seeded and not _same(first, member.tensors(split)) for member in members[1:]):
        for member in members[1:]:
            member._placed[split] = first
        return True, first
    stacked = _stack([member.tensors(split) for member in members])
    for number, member in enumerate(members):
        member._placed[split] = tuple(array[number] for array in stacked)
    return False, stacked


def _same(one: Batch, other: Batch) -> bool:
    return all(map(torch.equal, one, other))


def _stack(batches: Sequence[Batch]) -> Batch:
    try:
        return tuple(torch.stack(tensors) for tensors in zip(*batches, strict=True))
    except RuntimeError as error:
        if len(shapes := {tuple(tensors[0].shape) for tensors in batches}) > 1:
            raise ValueError(f"the seeds have arrays of the shapes {sorted(shapes)}: unequal") from error
        raise

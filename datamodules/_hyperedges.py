"""Hyperedges as data: what a batch of them is, and hyperedges that are none, made of those that are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from datamodules._arrays import SPLITS, ArrayDataModule, BatchLoader, generator
from datamodules._spec import Field, Spec

PER_POSITIVE, ALL_CHANGED = (
    5,
    0.1,
)  # of the released code: negatives a positive, and the share in which all nodes change
ROUNDS = 50  # as often other nodes are drawn for what is known
LARGEST_KEY = 2**63 - 1


@dataclass(frozen=True)
class Hyperedges(Field):
    """Hyperedges of the shape (k,) over nodes of types of the sizes given; in examples they are some, too."""

    nodes: tuple[int, ...] = ()

    def example(self, batch_size: int, device: str) -> Tensor:
        if device == "meta":
            return super().example(batch_size, device)
        draw = torch.Generator().manual_seed(0)
        if len(self.nodes) == 1:
            return torch.rand(batch_size, *self.nodes, generator=draw).argsort(1)[:, : self.shape[0]].to(device)
        sizes, starts = torch.tensor(self.nodes), torch.tensor(offsets(self.nodes)[:-1])
        return (starts + (torch.rand(batch_size, len(sizes), generator=draw) * sizes).long()).to(device)


class HyperedgeData(ArrayDataModule):
    """Hyperedges with label 1, and five times as many that are none with label 0.

    A batch is (hyperedges, labels), (B, k) and (B,) in int64: numbers of nodes, the types one after another, and -1
    behind those of a hyperedge with fewer than k. `batch_size` counts those with label 1, which come first in training.

    Of a negative one node was replaced by another of its type, or in one of ten all were, drawn anew where the result
    is known: in training a training hyperedge, in validation one of these or of validation, and in the test any. If no
    such node is left, all are replaced. Those of training are drawn for a whole epoch at once, and the others once.
    """

    nodes: tuple[int, ...]  # how many of each type
    max_size: int

    @cached_property
    def positives(self) -> Mapping[str, Tensor]:
        """The hyperedges of each split, (E, k)."""
        raise NotImplementedError(f"{type(self).__name__} has no hyperedges")

    def _spec(self, sizes: Mapping[str, int], version: str) -> Spec:
        """That of so many hyperedges with label 1 in each split."""
        labels = Field((), torch.int64, classes=2)
        arguments = {"nodes": list(self.nodes), "max_size": self.max_size, "hyperedges": sizes["train"]}
        counts = {split: size * (1 if split == "train" else 1 + PER_POSITIVE) for split, size in sizes.items()}
        return Spec((Hyperedges((self.max_size,), torch.int64, nodes=self.nodes), labels), arguments, counts, version)

    def load(self, split: str) -> tuple[Tensor, ...]:
        """Of the training split those with label 1 alone: the others are new in each epoch."""
        positives = self.positives[split]
        if split == "train":
            return positives, torch.ones(len(positives), dtype=torch.int64)
        return _labelled(positives, self._negatives(split, generator(self.seed, split, 0)))

    def loader(self, split: str) -> BatchLoader:
        if split != "train":
            return super().loader(split)
        positives, size = self.tensors("train")[0], self.batch_size
        drawn: dict[int, Tensor] = {}

        def batch(epoch: int, position: int) -> tuple[Tensor, ...]:
            if epoch not in drawn:
                drawn.clear()
                drawn[epoch] = self._negatives("train", generator(self.seed, "train", epoch, 1)).to(positives.device)
            chosen = self.order(epoch)[position * size : (position + 1) * size]
            return _labelled(positives[chosen], drawn[epoch][chosen])

        return BatchLoader(batch, self.length)

    def replaced(self, split: str) -> tuple[Tensor, Tensor]:
        """Hyperedges of a split in which one node, the outsider, was replaced, and its place: (E, k) and (E,).

        Those are left out in which every other node of the type makes a known one.
        """
        draw = generator(self.seed, split, 0, 1)
        hyperedges = self.positives[split]
        places = _places(hyperedges, draw)
        made, found = self._corruption(split).redrawn(hyperedges, _one_hot(places, hyperedges), draw)
        return made[found], places[found]

    def _corruption(self, split: str) -> Corruption:
        known = [self.positives[each] for each in SPLITS[: SPLITS.index(split) + 1]]
        return Corruption(self.nodes, torch.cat(known))

    @cached_property
    def _of_training(self) -> Corruption:
        return self._corruption("train")

    def _negatives(self, split: str, draw: torch.Generator) -> Tensor:
        """So many for each hyperedge of a split, (E, PER_POSITIVE, k)."""
        corruption = self._of_training if split == "train" else self._corruption(split)
        return corruption.negatives(self.positives[split], draw).unflatten(0, (-1, PER_POSITIVE))


class Corruption:
    """Makes hyperedges that are not among the known ones, (E, k), by other nodes of the same types."""

    def __init__(self, nodes: Sequence[int], known: Tensor) -> None:
        self.total = sum(nodes)
        if (self.total + 1) ** known.shape[1] > LARGEST_KEY:
            raise ValueError(f"hyperedges of {known.shape[1]} among {self.total} nodes are too many to be numbered")
        self.sizes, self.starts = torch.tensor(nodes), torch.tensor(offsets(nodes)[:-1])
        self.known = self.keys(known).unique()

    def keys(self, hyperedges: Tensor) -> Tensor:
        """A number for each hyperedge, (E,), whatever the order of its nodes."""
        ordered = hyperedges.sort(1).values + 1
        return (ordered * (self.total + 1) ** torch.arange(hyperedges.shape[1])).sum(1)

    def is_known(self, hyperedges: Tensor) -> Tensor:
        keys = self.keys(hyperedges)
        places = torch.searchsorted(self.known, keys).clamp(max=len(self.known) - 1)
        return self.known[places] == keys

    def redrawn(self, hyperedges: Tensor, changed: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """Hyperedges (E, k) with new nodes where `changed`, and of which of them none that is known was found, (E,)."""
        types = torch.bucketize(hyperedges.contiguous(), self.starts, right=True) - 1
        made, todo = hyperedges.clone(), torch.arange(len(hyperedges))
        for _ in range(ROUNDS):
            kind, part = types[todo].clamp(min=0), changed[todo]
            fresh = self.starts[kind] + (torch.rand(kind.shape, generator=draw) * self.sizes[kind]).long()
            made[todo] = torch.where(part, fresh, hyperedges[todo])
            todo = todo[self.is_known(made[todo]) | has_repeats(made[todo])]
            if not len(todo):
                break
        return made, torch.ones(len(made), dtype=torch.bool).index_fill(0, todo, value=False)

    def negatives(self, positives: Tensor, draw: torch.Generator) -> Tensor:
        """PER_POSITIVE of each hyperedge, one after another; ValueError where nearly all that can be are known."""
        base = positives.repeat_interleave(PER_POSITIVE, 0)
        everything = torch.rand(len(base), 1, generator=draw) < ALL_CHANGED
        changed = (_one_hot(_places(base, draw), base) | everything) & (base >= 0)
        made, found = self.redrawn(base, changed, draw)
        if not found.all():
            rest = base[~found]
            made[~found], found = self.redrawn(rest, rest >= 0, draw)
            if not found.all():
                raise ValueError("nearly all hyperedges that could be are known: no negatives are left to be drawn")
        return made


def _places(hyperedges: Tensor, draw: torch.Generator) -> Tensor:
    """A place of each hyperedge that has a node, (E,)."""
    return (torch.rand(len(hyperedges), generator=draw) * (hyperedges >= 0).sum(1)).long()


def _one_hot(places: Tensor, hyperedges: Tensor) -> Tensor:
    return torch.arange(hyperedges.shape[1]) == places[:, None]


def _labelled(positives: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one, (B, k), those that are hyperedges first, and the labels."""
    both = torch.cat([positives, negatives.flatten(0, -2)])
    return both, (torch.arange(len(both), device=both.device) < len(positives)).long()


def offsets(nodes: Sequence[int]) -> list[int]:
    """Where the numbers of each type's nodes begin, and how many nodes there are."""
    return [0, *accumulate(nodes)]


def has_repeats(hyperedges: Tensor) -> Tensor:
    """Whether a hyperedge has a node twice, (E,)."""
    ordered = hyperedges.sort(1).values
    return ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(1)

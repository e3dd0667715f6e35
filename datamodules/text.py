"""Text for the prediction of its next symbol: made from a source of known entropy, or read from a file as bytes."""

from __future__ import annotations

import hashlib
import math
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from datamodules._arrays import SPLITS, ArrayDataModule, generator
from datamodules._files import DataMissing, data_dir, root_of
from datamodules._spec import Field, Spec

TABLES = 2**31  # the position under which a source is drawn: beyond those of all batches
MOST_CONTEXTS = 2**20


class _Windows(ArrayDataModule):
    """A text in windows of T = `context` symbols, each with the symbols that follow; the text is in three splits.

    Windows do not overlap: the last target of one is the first token of the next.
    """

    symbols: int  # how many different ones there are

    def __init__(self, context: int, batch_size: int, seed: int) -> None:
        super().__init__(batch_size, seed)
        if context < 1:
            raise ValueError(f"context must be at least 1, got {context}")
        self.context = context

    def text(self) -> Tensor:
        """The whole text, in int64."""
        raise NotImplementedError(f"{type(self).__name__} has no text")

    def _parts(self, size: int) -> dict[str, slice]:
        """Where the splits of a text lie: eight, one and one tenths of it."""
        edges = [0, size * 8 // 10, size * 9 // 10, size]
        return {split: slice(edges[number], edges[number + 1]) for number, split in enumerate(SPLITS)}

    def _spec(self, size: int, version: str) -> Spec:
        sizes = {split: (part.stop - part.start - 1) // self.context for split, part in self._parts(size).items()}
        if min(sizes.values()) < 1:
            raise ValueError(
                f"context must be less than a tenth of the text, got {self.context} for {size} symbols: a split has "
                "no window of such length"
            )
        field = Field((self.context,), torch.int64, classes=self.symbols)
        return Spec((field, field), {"vocab_size": self.symbols, "context": self.context}, sizes, version)

    def load(self, split: str) -> tuple[Tensor, ...]:
        text = self.text()
        windows = text[self._parts(len(text))[split]].unfold(0, self.context + 1, self.context)
        return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()


class MarkovText(_Windows):
    """A text from a Markov source of higher order, whose entropy is known exactly.

        x_t = the c_t-th successor of (x_{t-k}, …, x_{t-1}),   P(c = 1, 2, 3, 4) = 1/2, 1/4, 1/8, 1/8

    Each of the V^k contexts of k = `order` symbols has four different successors, drawn at random from the alphabet of
    V symbols. The chance of the next symbol is thereby a permutation of the same four numbers after every context, and
    the entropy rate is 7/4 bits a symbol, 1.213 nats, whatever the successors are: no predictor has a smaller expected
    cross-entropy. One that sees fewer than k symbols, as at the first k - 1 tokens of a window, has a greater one.

    Successors and text belong to the seed. Of `size` symbols the first eight tenths are the training split, the next
    tenth is the validation split, the rest the test split; each is cut into windows of T = `context` tokens that do
    not overlap. A batch is (tokens, targets), both (B, T) in int64: a target is the symbol after its token.

    Raises ValueError for sizes below 1, an alphabet of fewer than the four successors, more than 2^20 contexts, and
    for a text too short for a window in each split.
    """

    CHANCES: ClassVar[tuple[float, ...]] = (1 / 2, 1 / 4, 1 / 8, 1 / 8)

    def __init__(
        self,
        alphabet: int = 24,
        order: int = 2,
        size: int = 200_000,
        context: int = 64,
        batch_size: int = 32,
        seed: int = 0,
    ) -> None:
        super().__init__(context, batch_size, seed)
        if alphabet < len(self.CHANCES):
            raise ValueError(f"alphabet must have at least {len(self.CHANCES)} symbols, got {alphabet}")
        if order < 1:
            raise ValueError(f"order must be at least 1, got {order}")
        if alphabet**order > MOST_CONTEXTS:
            raise ValueError(f"order must leave at most 2^20 contexts, got {alphabet}^{order}: take a smaller one")
        self.save_hyperparameters()
        self.symbols, self.contexts, self.size = alphabet, alphabet**order, size
        self._spec(size, "")

    @property
    def entropy(self) -> float:
        """The entropy rate in nats a symbol."""
        return -sum(chance * math.log(chance) for chance in self.CHANCES)

    @property
    def spec(self) -> Spec:
        return self._spec(self.size, "1")

    @cached_property
    def successors(self) -> Tensor:
        """The successors of every context, most likely ones first: (V^k, 4). A context is a number to the base V."""
        source = generator(self.seed, "train", 0, TABLES)
        drawn = torch.rand(self.contexts, self.symbols, generator=source)
        return drawn.argsort(dim=1)[:, : len(self.CHANCES)]

    def text(self) -> Tensor:
        return self._text

    @cached_property
    def _text(self) -> Tensor:
        source = generator(self.seed, "train", 0, TABLES + 1)
        chosen = torch.multinomial(torch.tensor(self.CHANCES), self.size, replacement=True, generator=source)
        successors = self.successors.tolist()
        context = int(torch.randint(self.contexts, (), generator=source))
        text = []
        for choice in chosen.tolist():
            symbol = successors[context][choice]
            text.append(symbol)
            context = (context * self.symbols + symbol) % self.contexts
        return torch.tensor(text)


class Text(_Windows):
    """A text file as a sequence of bytes: 256 symbols, whatever the encoding.

    The path is absolute or below the data folder. The first eight tenths of the bytes are the training split, the next
    tenth is the validation split, the rest the test split; each is cut into windows of T = `context` tokens that do
    not overlap. A batch is (tokens, targets), both (B, T) in int64: a target is the byte after its token.

    Raises DataMissing where there is no such file; ValueError for a context below 1, and for a file too short for a
    window in each split.
    """

    seeded = False
    symbols = 256

    def __init__(self, path: str, context: int = 64, batch_size: int = 32, seed: int = 0) -> None:
        super().__init__(context, batch_size, seed)
        self.save_hyperparameters()
        self.path = path

    @property
    def spec(self) -> Spec:
        return self._spec(*self._size_and_digest)

    @cached_property
    def _size_and_digest(self) -> tuple[int, str]:
        content = self._file().read_bytes()
        return len(content), hashlib.sha256(content).hexdigest()[:16]

    def prepare_data(self) -> None:
        self._file()

    def text(self) -> Tensor:
        return torch.from_numpy(np.fromfile(self._file(), np.uint8).astype(np.int64))

    def _file(self) -> Path:
        root = root_of([self.path])
        if root is None:
            raise DataMissing(
                f"text: no file {self.path} in {data_dir()} (set by --data-dir or ZOO_DATA_DIR): put it there, give "
                "an absolute path, or take MarkovText, which needs no file"
            )
        return root / self.path

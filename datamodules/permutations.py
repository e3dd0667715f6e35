"""Permutations of bits: learnt from single ones, tested on inputs with several."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from datamodules._arrays import ArrayDataModule, generator
from datamodules._spec import Field, Spec


class Permutation(ArrayDataModule):
    """Binary inputs of k bits and the same bits in a permuted order.

        training   e_i -> P e_i   for all k basis vectors
        test       x / ||x|| -> P x   for binary x with exactly n ones

    All C(k, n) inputs are tested where these are at most `most`, in lexicographic order; of more, `most` are drawn
    independently. The permutation and the drawn inputs belong to the seed. A batch is (x, y), both of shape
    (B, k). There is no validation split.

    Raises ValueError for a size or a number of tests below 1, and where n is not between 1 and k.

    Source: G. Giapitzakis, A. Back de Luca and K. Fountoulakis, "Exact learning of permutations for nonzero binary
    inputs with logarithmic training size and quadratic ensemble complexity", 2025, arXiv:2502.16763.
    """

    citation: ClassVar[str] = """\
@misc{giapitzakis2025exact,
  author = {George Giapitzakis and Artur {Back de Luca} and Kimon Fountoulakis},
  title = {{Exact Learning of Permutations for Nonzero Binary Inputs with Logarithmic Training Size and Quadratic
    Ensemble Complexity}},
  year = {2025},
  eprint = {2502.16763},
  archiveprefix = {arXiv},
  url = {https://arxiv.org/abs/2502.16763}
}"""

    def __init__(self, size: int = 10, ones: int = 2, most: int = 1000, batch_size: int = 256, seed: int = 0) -> None:
        super().__init__(batch_size, seed)
        for name, value in {"size": size, "most": most}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 1 <= ones <= size:
            raise ValueError(f"ones must be between 1 and size = {size}, got {ones}")
        self.save_hyperparameters()
        self.size, self.ones = size, ones
        self.tests = min(math.comb(size, ones), most)
        self.order_of_bits = torch.randperm(size, generator=generator(seed, "train", 0, 2**31))

    @property
    def spec(self) -> Spec:
        bits, sizes = Field((self.size,)), {"train": self.size, "val": 0, "test": self.tests}
        arguments = {"in_features": self.size, "out_features": self.size, "samples": self.size}
        return Spec((bits, bits), arguments, sizes, "1")

    def load(self, split: str) -> tuple[Tensor, ...]:
        bits = torch.eye(self.size) if split == "train" else self._several()
        return torch.nn.functional.normalize(bits, dim=1), bits[:, self.order_of_bits]

    def _several(self) -> Tensor:
        """Inputs with n ones, (tests, k)."""
        if math.comb(self.size, self.ones) == self.tests:
            places = torch.combinations(torch.arange(self.size), self.ones)
        else:
            drawn = torch.rand(self.tests, self.size, generator=generator(self.seed, "test", 0))
            places = drawn.argsort(dim=1)[:, : self.ones]
        return torch.zeros(self.tests, self.size).scatter_(1, places, 1.0)

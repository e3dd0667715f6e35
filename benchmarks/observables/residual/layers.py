"""What a residual network tells of its layers, and the norms in which they are measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor, nn

#: The norm of the weight of layer k, or of its difference to that of the next one.
Norm = Callable[[Tensor, int], Tensor]


class Layered(Protocol):
    """A residual network whose layers can be followed through its depth."""

    def along_depth(self) -> Mapping[str, Sequence[Tensor]]:
        """By its name, each sequence W_1 … W_L of weights in the order of the layers: numbers, matrices or kernels."""
        ...


def refusal(model: Any) -> str:
    """Why a model's layers cannot be followed; nothing where they can."""
    return "" if hasattr(model, "along_depth") else f"{type(model).__name__} has no sequences along_depth"


def increments(weights: Sequence[Tensor], norm: Norm | None = None) -> Tensor:
    """||W_{k+1} - W_k|| for all neighbours of one shape, by the Frobenius norm unless another is given."""
    norm = norm or frobenius
    found = [norm(b - a, k) for k, (a, b) in enumerate(pairwise(weights)) if a.shape == b.shape]
    return torch.stack(found).detach() if found else weights[0].new_zeros(0)


def frobenius(weight: Tensor, layer: int) -> Tensor:
    """The root of the sum of the squares of all entries."""
    return weight.norm()


def spectral(weights: Sequence[Tensor], sizes: Mapping[Tensor, tuple[int, int]]) -> Norm:
    """The norm of the weights as linear maps; a kernel acts on periodic maps of the size that its layer reads."""

    def norm(weight: Tensor, layer: int) -> Tensor:
        return largest_singular_value(weight, sizes.get(weights[layer]))

    return norm


def largest_singular_value(weight: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """That of a matrix, or of the convolution with a kernel (O, I, h, w) on periodic maps of `size`.

    At each frequency such a convolution is a matrix (O, I), the kernel's Fourier transform there: the largest singular
    value of all of them is its norm. A stride is not looked at. Scalars and vectors have their length.

    Raises ValueError for maps that are smaller than the kernel.

    Source: Sedghi, Gupta and Long, "The singular values of convolutional layers", ICLR 2019, arXiv:1805.10408.
    """
    if weight.ndim < 2:
        return weight.norm()
    if weight.ndim == 4:
        if size is None or size[0] < weight.shape[2] or size[1] < weight.shape[3]:
            raise ValueError(f"a kernel of {tuple(weight.shape[2:])} needs maps of at least its size, got {size}")
        weight = torch.fft.rfft2(weight, s=size).permute(2, 3, 0, 1)  # the other frequencies are conjugate to these
    return torch.linalg.matrix_norm(weight, 2).max()


def map_sizes(model: nn.Module, inputs: Sequence[Any]) -> dict[Tensor, tuple[int, int]]:
    """The height and width of the maps that each convolution reads, by its kernel."""
    found: dict[Tensor, tuple[int, int]] = {}

    def note(module: Any, arguments: tuple[Tensor, ...]) -> None:
        height, width = arguments[0].shape[-2:]
        found[module.weight] = (height, width)

    handles = [m.register_forward_pre_hook(note) for m in model.modules() if isinstance(m, nn.Conv2d)]
    try:
        model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found

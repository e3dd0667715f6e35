"""Trained rank pruning: convolutions that become low-rank while they are trained (Xu et al., 2020)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from zoo._checks import at_least, fraction, not_negative, one_of
from zoo.sparse._masks import TAKEN, taken

SCHEMES = ("channel", "spatial")
Factors = tuple[Tensor, Tensor, Tensor]


def as_matrix(weight: Tensor, scheme: str) -> Tensor:
    """The kernel (out, in, kh, kw) as a matrix: (out, in kh kw) by channel, (in kh, out kw) by space."""
    if scheme == "channel":
        return weight.flatten(1)
    return weight.permute(1, 2, 0, 3).flatten(2).flatten(0, 1)


def as_kernel(matrix: Tensor, shape: torch.Size, scheme: str) -> Tensor:
    """The kernel of a shape (out, in, kh, kw) whose matrix this is: the inverse of `as_matrix`."""
    if scheme == "channel":
        return matrix.view(shape)
    outputs, inputs, high, wide = shape
    return matrix.view(inputs, high, outputs, wide).permute(2, 0, 1, 3)


def energy_rank(singular: Tensor, energy: float) -> int:
    """The least r >= 1 with sigma_1^2 + … + sigma_r^2 >= energy ||sigma||^2, of singular values in falling order."""
    cumulative = singular.square().cumsum(0)
    return min(int((cumulative < energy * cumulative[-1]).sum()) + 1, len(singular))


def truncated(matrix: Tensor, energy: float, rank: int | None = None) -> Factors:
    """U (m, r), sigma (r,) and V^T (r, n) of the nearest matrix of that rank, or of the least rank with that energy."""
    left, singular, right = torch.linalg.svd(matrix, full_matrices=False)
    kept = energy_rank(singular, energy) if rank is None else rank
    return left[:, :kept], singular[:kept], right[:kept]


def nuclear_subgradient(matrix: Tensor, energy: float = 1.0) -> Tensor:
    """U V^T of the singular vectors that hold the energy: with all of them a subgradient of the nuclear norm."""
    left, _, right = truncated(matrix, energy)
    return left @ right


def wide_convolutions(model: nn.Module, skip: int = 1) -> dict[str, nn.Conv2d]:
    """The ungrouped convolutions wider than 1×1, by name in the order of definition, without the first `skip`."""
    every = [(name, part) for name, part in model.named_modules() if isinstance(part, nn.Conv2d)]
    return {name: part for name, part in every[skip:] if part.kernel_size != (1, 1) and part.groups == 1}


class TrainedRankPruning(pl.Callback):
    """Alternates training with truncation of the convolutions' singular values, and penalises their nuclear norms.

        before steps 0, every, 2 every, …:   W <- sum_{i <= r} sigma_i u_i v_i^T
                                             with the least r such that sum_{i <= r} sigma_i^2 >= energy ||W||_F^2
        at every step:                       grad L(W) + nuclear sum_{i <= r} u_i v_i^T

    W is a kernel as a matrix: (out, in kh kw) in the scheme `channel`, (in kh, out kw) in `spatial`. A step from a
    truncated kernel uses the gradient at it. The first `skip` convolutions, 1×1 and grouped ones are left alone, and
    so are the optimiser's momenta. `decompose` makes two thin convolutions of each layer in the end.

    Raises ValueError for skip < 0, every < 1, energy outside (0, 1], a negative nuclear weight, another scheme, and
    a model without such convolutions.

    Source: Y. Xu, Y. Li, S. Zhang, W. Wen, B. Wang, Y. Qi, Y. Chen, W. Lin and H. Xiong, "TRP: Trained Rank Pruning
    for Efficient Deep Neural Networks", IJCAI 2020, arXiv:2004.14566. Deliberate differences: kernels are truncated at
    every 20th step unless told, and the subgradient enters every step, where the authors' code has both together and by
    default always; strided layers are decomposed as well; the scheme that decouples the kernels of each output channel
    is left out.
    """

    def __init__(
        self, scheme: str = "channel", energy: float = 0.9, every: int = 20, nuclear: float = 3e-4, skip: int = 1
    ) -> None:
        one_of(SCHEMES, scheme=scheme)
        fraction(energy=energy)
        at_least(1, every=every)
        not_negative(nuclear=nuclear, skip=skip)
        self.scheme, self.energy, self.every, self.nuclear, self.skip = scheme, energy, every, nuclear, skip

    def refusal(self, model: pl.LightningModule, data: pl.LightningDataModule) -> str:
        """Why the model has no rank to prune; nothing where it has. Its layers are this method's own from then on."""
        if not (found := wide_convolutions(model, self.skip)):
            return _nothing(model, self.skip)
        for name, layer in found.items():
            if by := taken(layer, "weight"):
                return f"the weight of {name} is taken already, by {by}: leave one of the two methods out"
            setattr(layer, TAKEN, type(self).__name__)
        return ""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit" and (reason := self.refusal(pl_module, trainer.datamodule)):  # type: ignore[attr-defined]
            raise ValueError(reason)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        for layer in wide_convolutions(pl_module, self.skip).values():
            vars(layer).pop(TAKEN, None)

    @torch.no_grad()
    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step % self.every == 0 and batch_idx % trainer.accumulate_grad_batches == 0:
            for layer in wide_convolutions(pl_module, self.skip).values():
                truncate(layer, self.scheme, self.energy)

    @torch.no_grad()
    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        for layer in wide_convolutions(pl_module, self.skip).values() if self.nuclear else ():
            if layer.weight.grad is not None:
                direction = nuclear_subgradient(as_matrix(layer.weight, self.scheme), self.energy)
                layer.weight.grad.add_(as_kernel(direction, layer.weight.shape, self.scheme), alpha=self.nuclear)


def _nothing(model: nn.Module, skip: int) -> str:
    return f"{type(model).__name__} has no ungrouped convolution wider than 1×1 after the first {skip}"


@torch.no_grad()
def truncate(layer: nn.Conv2d, scheme: str, energy: float = 0.9, rank: int | None = None) -> None:
    """Replaces a kernel, in place, by the nearest one of that rank, or of the least rank with that energy."""
    left, singular, right = truncated(as_matrix(layer.weight, scheme), energy, rank)
    layer.weight.copy_(as_kernel(left * singular @ right, layer.weight.shape, scheme))


@torch.no_grad()
def decompose(
    model: nn.Module, scheme: str, energy: float = 0.9, ranks: Mapping[str, int] | None = None, skip: int = 1
) -> tuple[nn.Module, dict[str, int]]:
    """A copy whose convolutions are truncated and made of two thin ones, and the rank of each layer.

        channel   r kernels (in, kh, kw), then out 1×1 ones of r channels:    r (in kh kw + out) weights
        spatial   r kernels (in, kh, 1), then out of (r, 1, kw):              r (in kh + out kw) weights

    The ranks are those given by the layers' names, or the least ones with the energy. Its outputs are those of the
    truncated network, up to rounding. A layer that two convolutions would not make smaller stays one, truncated.
    Raises ValueError for another scheme, energy outside (0, 1], a model without such layers, a layer without a given
    rank, and a rank that a layer's matrix does not have.
    """
    one_of(SCHEMES, scheme=scheme)
    fraction(energy=energy)
    trainer = getattr(model, "_trainer", None)
    made = copy.deepcopy(model, {id(trainer): trainer})  # the trainer of a model is no part of it
    if not (layers := wide_convolutions(made, skip)):
        raise ValueError(_nothing(model, skip))
    found = {}
    for name, layer in layers.items():
        matrix = as_matrix(layer.weight, scheme)
        factors = truncated(matrix, energy, None if ranks is None else _possible(ranks, name, min(matrix.shape)))
        found[name] = rank = len(factors[1])
        if rank * sum(matrix.shape) < matrix.numel():
            _replace(made, name, _pair(layer, factors, scheme))
        else:
            truncate(layer, scheme, rank=rank)
    return made, found


def _possible(ranks: Mapping[str, int], name: str, full: int) -> int:
    if name not in ranks:
        raise ValueError(f"ranks has none for the layer {name}: give one, or leave layers out by skip")
    if not 1 <= (rank := ranks[name]) <= full:
        raise ValueError(f"ranks: {name} has ranks from 1 to {full}, got {rank}: choose one of them")
    return rank


def _pair(layer: nn.Conv2d, factors: Factors, scheme: str) -> nn.Sequential:
    """Two convolutions in a row that do what the layer with the product of the factors does."""
    left, singular, right = factors
    outputs, inputs, high, wide = layer.weight.shape
    if scheme == "channel":
        kernels = (right.view(-1, inputs, high, wide), (left * singular)[:, :, None, None])
        axes = ((True, True), (False, False))
    else:
        first = (left * singular).view(inputs, high, -1).permute(2, 0, 1)[..., None]
        kernels = (first, right.view(-1, outputs, wide).transpose(0, 1)[:, :, None])
        axes = ((True, False), (False, True))
    one, other = (_convolution(layer, kernel, own) for kernel, own in zip(kernels, axes, strict=True))
    if layer.bias is not None:
        other.bias = nn.Parameter(layer.bias.clone())
    return nn.Sequential(one, other)


def _convolution(layer: nn.Conv2d, kernel: Tensor, axes: tuple[bool, bool]) -> nn.Conv2d:
    """A convolution by this kernel, without a bias, which strides and pads as the layer does along these axes alone."""

    def along(setting: Any, otherwise: int) -> Any:
        return tuple(n if own else otherwise for n, own in zip(setting, axes, strict=True))

    outputs, inputs, *size = kernel.shape
    made = nn.Conv2d(
        inputs,
        outputs,
        cast(Any, tuple(size)),
        stride=along(layer.stride, 1),
        padding=layer.padding if isinstance(layer.padding, str) else along(layer.padding, 0),
        dilation=along(layer.dilation, 1),
        bias=False,
        padding_mode=layer.padding_mode,
    ).to(kernel)
    made.weight.copy_(kernel)
    return made


def _replace(model: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    model.get_submodule(parent)._modules[leaf] = part


@torch.no_grad()
def cost(model: nn.Module, *inputs: Tensor) -> tuple[int, int]:
    """Weights of the model's convolutions and linear layers, and the multiplications that they take for the inputs."""
    counts = [0, 0]

    def add(layer: nn.Module, _: Any, output: Tensor) -> None:
        weight = cast(Tensor, layer.weight)
        counts[0] += weight.numel()
        counts[1] += weight[0].numel() * output.numel()

    handles = [p.register_forward_hook(add) for p in model.modules() if isinstance(p, nn.Conv2d | nn.Linear)]
    model(*inputs)
    for handle in handles:
        handle.remove()
    return counts[0], counts[1]

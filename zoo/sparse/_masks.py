"""Masks: which weights of a model are there, as parametrisations of torch, for every method of pruning alike."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from zoo._registry import unknown

#: Layers whose weights are no connections between units: they are never masked.
KEPT_WHOLE = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.Embedding, nn.RNNBase)

TAKEN = "_taken_by"  # the attribute of a layer by which a method without a parametrisation says that it is its own
BEHIND = re.compile(r"parametrizations\.([^.]+)\.original$")  # torch's name for what is behind a weight


class Mask(nn.Module):
    """theta_eff = mask * theta: the parametrisation of a weight of which some entries are zero.

    While `dense` is set, the gradient reaches the dropped entries too, as if they were there at the value zero.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        self.dense = False

    def forward(self, weight: Tensor) -> Tensor:
        masked = weight * self.mask
        return weight + (masked - weight).detach() if self.dense else masked

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight


def maskable(model: nn.Module, layers: Sequence[str] = ("*",)) -> dict[str, tuple[nn.Module, str]]:
    """The weights that can be masked, by name: trainable, of two or more axes, in no norm or embedding, not shared.

    layers are globs on the names of weights or of the layers that hold them; all weights if there are none chosen.
    Raises ValueError for a glob that nothing matches, for a model without such weights, and for one that says by its
    `exceptions` why it takes no masks.
    """
    if not layers:
        raise ValueError("layers must name at least one weight or layer, got none; leave it out for all of them")
    if reason := getattr(model, "exceptions", {}).get("masks"):
        raise ValueError(f"{type(model).__name__} has no weights to mask: {reason}")
    found: dict[str, tuple[nn.Module, str]] = {}
    for prefix, module in model.named_modules():
        inside = "parametrizations" in prefix.split(".")  # of what another method has put there
        for leaf, weight in () if inside or isinstance(module, KEPT_WHOLE) else _weights(module):
            if weight.requires_grad and weight.is_floating_point() and weight.dim() >= 2:
                found[f"{prefix}.{leaf}" if prefix else leaf] = (module, leaf)
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    shared = set(names) - {name for name, _ in model.named_parameters()}
    twice = {id(model.get_parameter(name)) for name in shared}
    found = {name: at for name, at in found.items() if id(_original(*at)) not in twice}
    if not found:
        raise ValueError(f"{type(model).__name__} has no weights to mask: matrices or kernels that are trained")
    for glob in layers:
        if not _matching(glob, found):
            raise ValueError(unknown("layer", glob, found, f"the weights are {', '.join(found)}"))
    chosen = {name for glob in layers for name in _matching(glob, found)}
    return {name: at for name, at in found.items() if name in chosen}


def parametrised(module: nn.Module) -> Mapping[str, Any]:
    """A layer's parametrisations, by the names of its weights; none for most."""
    found: Any = module.parametrizations if parametrize.is_parametrized(module) else {}
    return found


def taken(module: nn.Module, leaf: str) -> str:
    """Which method has taken a layer's weight: the parametrisation's name, or of one that changes weights in place."""
    entries = parametrised(module)
    return type(entries[leaf][0]).__name__ if leaf in entries else str(vars(module).get(TAKEN, ""))


def _weights(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """A module's own parameters, also those behind a parametrisation."""
    yield from ((leaf, own) for leaf, own in module._parameters.items() if own is not None)
    yield from ((leaf, entry.original) for leaf, entry in parametrised(module).items())


def _original(module: nn.Module, leaf: str) -> nn.Parameter:
    own: nn.Parameter = dict(_weights(module))[leaf]
    return own


def _matching(glob: str, names: Iterable[str]) -> list[str]:
    return [n for n in names if any(fnmatch.fnmatchcase(whole, glob) for whole in (n, n.rpartition(".")[0]))]


class Masked:
    """The masks of a model's weights, by their names.

    They are installed by `mask`, found again by `Masked(model)`, or some of them by their names, changed by `set`, and
    merged into the weights by `merge`, which leaves a plain model with zeros in it. `weights` are the trained tensors
    behind the masks, in which a dropped entry is zero, too: an optimiser that decays it or adds to it by old moments
    would otherwise wake it.
    """

    def __init__(self, model: nn.Module, names: Collection[str] | None = None) -> None:
        self.owners: dict[str, tuple[nn.Module, str]] = {}
        self.modules: dict[str, Mask] = {}
        for prefix, module in model.named_modules():
            for leaf, entry in parametrised(module).items():
                name = f"{prefix}.{leaf}" if prefix else leaf
                if isinstance(entry[0], Mask) and (names is None or name in names):
                    self.owners[name], self.modules[name] = (module, leaf), entry[0]

    @property
    def masks(self) -> dict[str, Tensor]:
        return {name: module.mask for name, module in self.modules.items()}

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        return {name: _original(*at) for name, at in self.owners.items()}

    @property
    def shapes(self) -> dict[str, torch.Size]:
        return {name: weight.shape for name, weight in self.weights.items()}

    @property
    def size(self) -> int:
        return sum(mask.numel() for mask in self.masks.values())

    @property
    def density(self) -> float:
        """The share of the masked weights that is there."""
        return density(self.masks.values())

    @torch.no_grad()
    def set(self, masks: Mapping[str, Tensor], optimizers: Sequence[Any] = ()) -> None:
        """Puts other masks in place. Entries that are dropped or come anew are zero, and so is what optimisers keep
        of them. Of the gradients that there are now, only those of entries that are there from now on stay.
        """
        weights = self.weights
        for name, new in masks.items():
            mask, weight = self.modules[name].mask, weights[name]
            changed = mask != new
            mask.copy_(new)
            weight.masked_fill_(changed | ~mask, 0.0)
            if weight.grad is not None:
                weight.grad.mul_(mask)
            for optimizer in optimizers:
                for kept in optimizer.state.get(weight, {}).values():
                    if isinstance(kept, Tensor) and kept.shape == weight.shape:
                        kept.masked_fill_(changed, 0)

    def merge(self) -> dict[str, Tensor]:
        """Multiplies the masks into the weights for good, and returns them."""
        masks = {name: mask.clone() for name, mask in self.masks.items()}
        for module, leaf in self.owners.values():
            parametrize.remove_parametrizations(module, leaf, leave_parametrized=True)
        self.owners, self.modules = {}, {}
        return masks


def mask(model: nn.Module, layers: Sequence[str] = ("*",)) -> Masked:
    """Masks the weights of the chosen layers, with nothing dropped yet.

    Raises ValueError for a layer that does not exist, and for a weight that another method has masked already.
    """
    chosen = maskable(model, layers)
    for name, (module, leaf) in chosen.items():
        if by := taken(module, leaf):
            raise ValueError(
                f"{name} is parametrised already, by {by}: one method takes a weight, "
                "so leave one of them out or give them different layers"
            )
    for module, leaf in chosen.values():
        everything = torch.ones_like(_original(module, leaf), dtype=torch.bool)
        parametrize.register_parametrization(module, leaf, Mask(everything))
        _picklable(module)
    return Masked(model, chosen)


def _picklable(module: nn.Module) -> None:
    """Has a masked layer pickled by its parts: torch refuses, as the class that it makes has no name to be found by."""
    type(module).__reduce_ex__ = _reduced  # type: ignore[assignment, method-assign]


def _reduced(module: nn.Module, _protocol: Any) -> Any:
    return _restored, (type(module).__bases__[0], vars(module))


def _restored(kind: type[nn.Module], state: dict[str, Any]) -> nn.Module:
    module = kind.__new__(kind)
    module.__dict__ = {**state, "_modules": dict(state["_modules"]), "_parameters": dict(state["_parameters"])}
    lists: Any = module._modules.pop("parametrizations")
    for leaf, entry in lists.items():
        module.register_parameter(leaf, entry.original)
        for parametrization in entry:
            parametrize.register_parametrization(module, leaf, parametrization)
    _picklable(module)
    return module


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a model under the names that they have without masks: the weights behind these."""
    named = ((BEHIND.sub(r"\1", name), tensor) for name, tensor in model.state_dict().items())
    return {name: tensor for name, tensor in named if "parametrizations" not in name.split(".")}


def density(masks: Iterable[Tensor]) -> float:
    """The share of the entries of all masks together that is there."""
    every = list(masks)
    return int(torch.stack([mask.sum() for mask in every]).sum()) / sum(mask.numel() for mask in every)


def largest(scores: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Masks of the `count` highest scores of all tensors together; of equal ones any."""
    flat = torch.cat([tensor.flatten() for tensor in scores.values()])
    chosen = torch.zeros_like(flat, dtype=torch.bool)
    chosen[flat.topk(count).indices] = True
    parts = chosen.split([tensor.numel() for tensor in scores.values()])
    return {name: part.view_as(scores[name]) for name, part in zip(scores, parts, strict=True)}


def largest_each(scores: Mapping[str, Tensor], densities: Mapping[str, float]) -> dict[str, Tensor]:
    """Masks of the round(density * N) highest scores of each tensor."""
    return {
        name: largest({name: tensor}, round(densities[name] * tensor.numel()))[name] for name, tensor in scores.items()
    }


def random_each(masked: Masked, densities: Mapping[str, float]) -> dict[str, Tensor]:
    """Masks of round(density * N) entries of each weight, drawn from torch's random numbers without replacement."""
    return largest_each({name: torch.rand_like(weight) for name, weight in masked.weights.items()}, densities)


def rewired(weight: Tensor, mask: Tensor, share: float, growth: Tensor) -> Tensor:
    """A mask of as many entries: the int(share * nnz) smallest |w| are dropped, and as many places gain one.

    They are those of the highest growth among all that are empty then. Of these are the dropped ones, which keep their
    value if they are chosen.
    """
    nonzero = int(mask.sum())
    moved = int(share * nonzero)
    magnitude = weight.detach().abs().masked_fill(~mask, -1)
    kept = largest({"": magnitude}, nonzero - moved)[""]
    return kept | largest({"": growth.masked_fill(kept, -torch.inf)}, moved)[""]

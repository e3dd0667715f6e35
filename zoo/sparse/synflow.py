"""SynFlow: pruning before training without data, by what flows through all paths of positive weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from zoo._checks import at_least
from zoo._module import ZooModule
from zoo.sparse._masks import Masked, largest
from zoo.sparse._pruning import Pruning
from zoo.sparse._scoring import undisturbed


class SynFlow(Pruning):
    """Iterative synaptic flow pruning: a network of absolute weights is fed with ones, and pruned little by little.

        R = sum of the outputs of f(1; |w|),   s = |w| dR/d|w|
        for k = 1 … rounds: keep the round(density^(k / rounds) N) largest s of the network that round k - 1 left

    In a network of layers, rectifiers and no biases R is linear in each layer, so that the scores of every layer sum to
    R: as no layer can be worth less than what flows through it, none is emptied before all others are down to a few
    weights. All parameters and buffers are taken by their absolute values, in evaluation mode (batch norms use their
    running statistics) and in double precision. No label and no sample is used: of a batch only the shape matters.

    Raises ValueError for a density outside (0, 1], for less than one round, for scores beyond double precision and,
    before a training starts, for models whose inputs are not float tensors, layers that do not exist, and weights that
    another method prunes already.

    Source: H. Tanaka, D. Kunin, D. Yamins and S. Ganguli, "Pruning neural networks without any data by iteratively
    conserving synaptic flow", NeurIPS 2020, arXiv:2006.05467. Deliberate differences: double precision, and the exact
    number of weights where scores are equal.
    """

    def __init__(self, density: float = 0.1, rounds: int = 100, layers: Sequence[str] = ("*",)) -> None:
        super().__init__(density, layers)
        at_least(1, rounds=rounds)
        self.rounds = rounds

    def refusal(self, model: nn.Module, data: pl.LightningDataModule) -> str:
        return super().refusal(model, data) or _no_ones(model, data)

    def first(self, masked: Masked, module: Any, batch: Any) -> None:
        kept = masked.masks
        with undisturbed(module):
            module.eval()
            flow = SynapticFlow(masked, module, batch)
            for number in range(1, self.rounds + 1):
                scores = flow.scores(kept)
                gone = {name: score.masked_fill(~kept[name], -1.0) for name, score in scores.items()}
                kept = largest(gone, round(self.density ** (number / self.rounds) * masked.size))
        masked.set(kept)


class SynapticFlow:
    """A model of absolute weights that is fed with ones, in the mode that it is in."""

    def __init__(self, masked: Masked, module: Any, batch: Any) -> None:
        owners = {id(parameter): name for name, parameter in module.named_parameters()}
        self.module = module
        self.names = {name: owners[id(weight)] for name, weight in masked.weights.items()}
        self.tensors = {name: _positive(t) for name, t in [*module.named_parameters(), *module.named_buffers()]}
        self.ones = tuple(torch.ones_like(x[:1], dtype=torch.float64) for x in module.inputs(batch))

    def scores(self, kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """|w| dR/d|w| of each weight of the network that has only the kept ones."""
        leaves = {name: (self.tensors[at] * kept[name]).requires_grad_() for name, at in self.names.items()}
        given = self.tensors | {self.names[name]: leaf for name, leaf in leaves.items()}
        output = torch.func.functional_call(self.module, given, self.ones)
        outputs = output if isinstance(output, tuple | list) else [output]
        gradients = torch.autograd.grad(sum(o.sum() for o in outputs), list(leaves.values()), materialize_grads=True)
        found = {name: (leaf * g).detach() for (name, leaf), g in zip(leaves.items(), gradients, strict=True)}
        finite = torch.stack([score.isfinite().all() for score in found.values()]).tolist()
        if not all(finite):
            name = list(found)[finite.index(False)]
            raise ValueError(f"SynFlow's scores of {name} are not finite in double precision: prune by another method")
        return found


def _positive(tensor: Tensor) -> Tensor:
    return tensor.detach().double().abs() if tensor.is_floating_point() else tensor.detach().clone()


def _no_ones(model: nn.Module, data: Any) -> str:
    """Why a model cannot be fed with ones; nothing where it can."""
    example = data.spec.example()
    inputs = model.inputs(example) if isinstance(model, ZooModule) else (example[0],)
    for entry in inputs:
        if not (isinstance(entry, Tensor) and entry.is_floating_point()):
            kind = str(entry.dtype) if isinstance(entry, Tensor) else type(entry).__name__
            return f"{type(model).__name__} takes {kind}, and SynFlow's ones are an input of float tensors alone"
    return ""

"""Pruning: what every method that drops weights of a model in training has in common, as a callback."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging
from torch import Tensor, nn

from zoo._checks import fraction
from zoo._module import ZooModule
from zoo.sparse._masks import Masked, density, mask

AVERAGING = (StochasticWeightAveraging, WeightAveraging)


class Pruning(pl.Callback):
    """Masks a model's weights while it trains, and merges the masks into them when the training has ended.

    A method overrides any of these:

        install(model)                    the weights that are masked: those of the chosen layers
        begin(masked)                     at the start, by the weights alone
        first(masked, module, batch)      before the first step, with its batch
        due(step)                         whether step number `step` of `self.total` is to be changed
        prepare(masked), update(masked, step)   at such a step: before its gradients are computed, and with them

    density is the share of the chosen weights that is left in the end, layers are globs on the names of weights or
    of the layers that hold them. Tested are `density` and `nonzero`, the parameters that are not zero, masked or not;
    the Result keeps `mask/NAME` of each weight, and its checkpoint is that of a plain model.

    Raises ValueError for a density outside (0, 1], and, before a training starts, for layers that do not exist and for
    weights that another method prunes already.
    """

    def __init__(self, density: float, layers: Sequence[str] = ("*",)) -> None:
        fraction(density=density)
        self.density, self.layers = density, (layers,) if isinstance(layers, str) else tuple(layers)
        self.total = 0  # steps of the training
        self.names: tuple[str, ...] = ()  # of the weights whose masks are this method's
        self.merged: dict[str, Tensor] = {}

    @property
    def settled(self) -> bool:
        """Whether the masks are as dense as they are to be: weights of before are not chosen in the end."""
        return True

    def install(self, model: nn.Module) -> Masked:
        """Puts masks on the weights that are pruned."""
        return mask(model, self.layers)

    def begin(self, masked: Masked) -> None:
        """Chooses the first masks, of a model whose weights are fresh."""

    def first(self, masked: Masked, module: Any, batch: Any) -> None:
        """Chooses masks by the first batch."""

    def due(self, step: int) -> bool:
        """Whether masks change at a step; they are counted from 0."""
        return False

    def prepare(self, masked: Masked) -> None:
        """Comes before the gradients of a step at which masks change."""

    def update(self, masked: Masked, step: int) -> dict[str, Tensor]:
        """The masks from this step on; the gradients of its batch are there."""
        raise NotImplementedError(f"{type(self).__name__} says that a change is due, and not which")

    def refusal(self, model: nn.Module, data: pl.LightningDataModule) -> str:
        """Why this model cannot be pruned so; nothing where it can. The masks stay on the model, for others to see."""
        if isinstance(model, ZooModule) and model.stages():
            return f"{type(model).__name__} has stages, and each of them would be pruned anew: prune a model without"
        if _makes_no_optimizer(model):
            return f"{type(model).__name__} has no optimiser, whose steps a mask could follow"
        try:
            masked = self.install(model)
            self.begin(masked)
        except ValueError as error:
            return str(error)
        if round(self.density * masked.size) == 0:
            least = 1 / masked.size
            return f"density {self.density:g} leaves none of the {masked.size:,} weights: take {least:.2g} or more"
        return ""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Where a training goes on, its masks are restored after this."""
        if stage == "fit":
            if averaging := [c for c in getattr(trainer, "callbacks", ()) if isinstance(c, AVERAGING)]:
                told = "averages over changing masks are less sparse than any of them: leave one of the two out"
                raise ValueError(f"{type(averaging[0]).__name__} cannot go with {type(self).__name__}: {told}")
            with torch.no_grad():
                masked = self.install(pl_module)
                self.names = tuple(masked.owners)
                self.begin(masked)

    def masked(self, module: nn.Module) -> Masked:
        """The masks that are this method's."""
        return Masked(module, self.names)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if math.isinf(steps := trainer.estimated_stepping_batches):
            raise ValueError(
                f"{type(self).__name__} needs a training of known length: set trainer.max_steps or max_epochs"
            )
        self.total = int(steps)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 0 and batch_idx == 0:
            self.first(masked := self.masked(pl_module), pl_module, batch)
            _begun_alike(trainer, masked)
        if self.due(trainer.global_step):
            self.prepare(self.masked(pl_module))

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        if self.due(step := trainer.global_step):
            masked = self.masked(pl_module)
            masked.set(_of_first_rank(trainer, self.update(masked, step)), trainer.optimizers)
            for module in masked.modules.values():
                module.dense = False

    def teardown(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        if stage == "fit":
            self.merged = self.masked(pl_module).merge()
            for name, found in self.merged.items():
                pl_module.record(f"mask/{name}", found)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        methods = [c for c in trainer.callbacks if isinstance(c, Pruning)]  # type: ignore[attr-defined]
        if self is not methods[0]:  # which speaks for all of them
            return
        found = [mask for method in methods for mask in method.merged.values()]
        if found:
            pl_module.log("test/density", density(found))
        nonzero = sum(int(parameter.count_nonzero()) for parameter in pl_module.parameters())
        pl_module.log("test/nonzero", float(nonzero))


def _of_first_rank(trainer: pl.Trainer, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """What the first rank has, on all ranks: what each draws, and the batches that it sees, are its own."""
    if trainer.world_size == 1:
        return tensors
    return {n: trainer.strategy.broadcast(t.detach().cpu()).to(t.device) for n, t in tensors.items()}


def _begun_alike(trainer: pl.Trainer, masked: Masked) -> None:
    """Gives all ranks the first masks of one, and its weights: each has zeroed those that its own masks lack."""
    if trainer.world_size > 1:
        masked.set(_of_first_rank(trainer, masked.masks))
        for name, weight in _of_first_rank(trainer, masked.weights).items():
            masked.weights[name].data.copy_(weight)


def _makes_no_optimizer(model: nn.Module) -> bool:
    """Whether a model trains in a loop of its own, without an optimiser: nothing would tell when a step is done."""
    if not isinstance(model, ZooModule) or type(model).configure_optimizers is ZooModule.configure_optimizers:
        return False
    try:
        return model.configure_optimizers() == []
    except RuntimeError:  # some take a trainer to make
        return False

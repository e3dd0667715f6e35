"""ReLoRA: training by low-rank updates that are merged into the weights and begun anew."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from zoo._checks import at_least, fraction, one_of, positive
from zoo.sparse._masks import taken

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class LowRankUpdate(nn.Module):
    """W -> W + (alpha / r) B A, with A (r, n) and B (m, r) for W (m, n): a parametrisation of a weight.

    Of a convolution's weight (m, in, k, k), n is in k k. A starts as in a linear layer, uniform on ±1 / sqrt(n)
    (Kaiming's rule with a = sqrt 5), and B at zero, so that nothing changes at first.

    Raises ValueError for a rank below 1 or above min(m, n).
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        at_least(1, rank=rank)
        rows, columns = len(weight), weight[0].numel()
        if rank > min(rows, columns):
            raise ValueError(f"rank must be at most {min(rows, columns)} for a matrix {rows} × {columns}, got {rank}")
        self.scale = alpha / rank
        self.a = nn.Parameter(weight.new_empty(rank, columns))
        self.b = nn.Parameter(weight.new_empty(rows, rank))
        self.draw()

    def draw(self) -> None:
        """A anew, and B = 0."""
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))
        nn.init.zeros_(self.b)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.scale * self.b @ self.a).view_as(weight)


class ReLoRA(pl.Callback):
    """Trains weight matrices of a model by sums of low-rank updates; all its other parameters train as ever.

        W_t = W + (alpha / r) B A,   W frozen;   every `every` steps  W <- W + (alpha / r) B A,  A <- random,  B <- 0

    A period changes W by a matrix of rank r at most, N periods by one of rank N r at most. At a restart all but a few
    of the optimiser's moments of A and B are set to zero: a share `pruned` of each matrix, chosen at `random` or by
    `magnitude` of its first moment. Without `every` there is no restart: that is LoRA. In the first `warm_up` steps W
    itself is trained, with A and B at rest; the periods begin after them. When the training ends the updates are
    merged, and the model is an ordinary one: parameters, checkpoints and `zoo.load` know nothing of A and B.

    Without `layers` these are all linear layers but the last, which counts as the model's head; embeddings and norms
    are none. Otherwise `layers` is a pattern over the names of layers (`blocks.*.gated.*`), linear and convolutional
    ones. A restart wants a schedule that warms up again: RestartedCosine, with the same period and `warm_up` a multiple
    of it.

    Differences from the paper: its dropout acts on x in B A dropout(x), which no function of the weight can express,
    and is left out. Its first A of a warm-started model is zero like B, so that neither has a gradient until the first
    restart; here A is random. All moments of a matrix keep the same entries, so that no mean is left without its
    square. Frozen weights are outside the reach of weight decay, also of that of the optimiser's group.

    Raises ValueError for values out of range, layers that no pattern matches, a rank above that of a matrix, a weight
    that is parametrised already or shared between layers, and more than one device.

    Source: V. Lialin, N. Shivagunde, S. Muckatira and A. Rumshisky, "ReLoRA: High-Rank Training Through Low-Rank
    Updates", 2023, arXiv:2307.05695; LoRA: E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021,
    arXiv:2106.09685.
    """

    def __init__(
        self,
        rank: int = 128,
        alpha: float = 32.0,
        every: int | None = 5000,
        warm_up: int = 0,
        layers: str | None = None,
        reset: str = "random",
        pruned: float = 0.999,
    ) -> None:
        at_least(1, rank=rank)
        positive(alpha=alpha)
        if every is not None and every < 1:
            raise ValueError(f"every must be at least 1 step, or None for LoRA without restarts, got {every}")
        at_least(0, warm_up=warm_up)
        one_of(("random", "magnitude"), reset=reset)
        fraction(pruned=pruned)
        self.rank, self.alpha, self.every, self.warm_up = rank, alpha, every, warm_up
        self.layers, self.reset, self.pruned = layers, reset, pruned
        self.installed: dict[str, Any] = {}

    def refusal(self, model: pl.LightningModule, data: pl.LightningDataModule) -> str:
        """Why this model cannot be trained so; nothing where it can. The model is left with the parametrisations."""
        if getattr(model, "stages", tuple)() or not model.automatic_optimization:
            return f"{type(model).__name__} has stages or a loop of its own, which ReLoRA cannot follow"
        try:
            self.install(model)
        except ValueError as error:
            return str(error)
        return ""

    def install(self, model: nn.Module) -> None:
        """Puts the updates on the chosen layers. Raises ValueError where that cannot be done."""
        layers = layers_of(model, self.layers)
        _require_own_weights(model, layers)
        for name, layer in layers.items():
            try:
                update = LowRankUpdate(layer.weight, self.rank, self.alpha)
            except ValueError as error:
                raise ValueError(f"layer {name}: {error}") from error
            parametrize.register_parametrization(layer, "weight", update)
            self.installed[name] = layer

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        if trainer.world_size > 1:
            raise ValueError(f"ReLoRA trains on one device, got {trainer.world_size}: give trainer.devices: 1")
        self.install(pl_module)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._divide(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches and not trainer.is_last_batch:
            return
        since = trainer.global_step - self.warm_up
        if since == 0:
            self._divide(trainer)
        elif self.every and since > 0 and since % self.every == 0:
            self.restart(trainer.optimizers)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            self.remove()

    def remove(self) -> None:
        """Merges the updates, and leaves plain weights."""
        for layer in self.installed.values():
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
            layer.weight.requires_grad_(True)
        self.installed = {}

    def restart(self, optimizers: list[torch.optim.Optimizer]) -> None:
        """Merges the updates into the weights, begins new ones, and prunes the moments of the old."""
        for weight, update in self._pairs():
            with torch.no_grad():
                weight.copy_(update(weight))
            update.draw()
            for optimizer in optimizers:
                prune(optimizer, update.a, self.reset, self.pruned)
                prune(optimizer, update.b, self.reset, self.pruned)

    def _divide(self, trainer: pl.Trainer) -> None:
        """Says which are trained now: W in the warm-up, A and B after it. A frozen one has no gradient, nor moments."""
        warming = trainer.global_step < self.warm_up
        for weight, update in self._pairs():
            for parameter, trained in ((weight, warming), (update.a, not warming), (update.b, not warming)):
                parameter.requires_grad_(trained)
                if not trained:
                    parameter.grad = None
                    for optimizer in trainer.optimizers:
                        optimizer.state.pop(parameter, None)

    def _pairs(self) -> Iterator[tuple[nn.Parameter, LowRankUpdate]]:
        for layer in self.installed.values():
            yield layer.parametrizations.weight.original, layer.parametrizations.weight[0]


def layers_of(model: nn.Module, pattern: str | None = None) -> dict[str, Any]:
    """The layers whose names a pattern matches; without one, all linear layers but the last.

    Raises ValueError where there are none.
    """
    kinds = nn.Linear if pattern is None else (nn.Linear, *CONVOLUTIONS)
    layers = {name: part for name, part in model.named_modules() if isinstance(part, kinds)}
    if pattern is None:
        found = dict(list(layers.items())[:-1])
    else:
        found = {name: layer for name, layer in layers.items() if fnmatchcase(name, pattern)}
    if not found:
        what = "there is no linear layer before the last" if pattern is None else f"no layer matches {pattern!r}"
        raise ValueError(f"layers: {what}; {type(model).__name__} has {', '.join(layers) or 'none'}")
    return found


def _require_own_weights(model: nn.Module, layers: dict[str, Any]) -> None:
    """Raises ValueError for a weight that is parametrised already or belongs to several layers."""
    owners = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    for name, layer in layers.items():
        if by := taken(layer, "weight"):
            raise ValueError(f"layers: the weight of {name} is parametrised already, by {by}: leave one of the two out")
        if owners[id(layer.weight)] > 1:
            raise ValueError(f"layers: the weight of {name} is shared with another layer: choose others by a pattern")


def prune(optimizer: torch.optim.Optimizer, parameter: Tensor, how: str, share: float) -> None:
    """Sets at least a share of a parameter's moments to zero, the same entries of each.

    They are drawn at `random`, or those whose first moment has the least `magnitude`.
    """
    moments = [m for m in optimizer.state.get(parameter, {}).values() if getattr(m, "shape", None) == parameter.shape]
    if not moments:
        return
    order = torch.rand_like(moments[0]) if how == "random" else moments[0].abs()
    gone = order.flatten().argsort()[: math.ceil(share * parameter.numel())]
    for moment in moments:
        moment.view(-1)[gone] = 0

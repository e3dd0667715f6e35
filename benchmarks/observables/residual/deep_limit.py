"""How smooth weights are across layers, how the loss falls, and how far a deep network's weights are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from benchmarks.observables.residual import layers
from benchmarks.observables.steps import stepped
from benchmarks.store import Result

WEIGHTS = ("outer", "inner")
DEEP = "deep"  # the label of the reference
TIED = "tied"  # the label of the networks that approach it
Errors = dict[str, dict[int, dict[int, float]]]


class LayerIncrements(pl.Callback):
    """Measures at the end how weights change from layer to layer, in a network that tells them by `along_depth`.

    For each NAME of its sequences W_1 … W_L, in Frobenius norms:

        test/increment_NAME   max_k ||W_{k+1} - W_k||
        test/scaled_NAME      L times that: bounded in L where weights are a Lipschitz function of k / L

    and records the increments of all layers as `increments_NAME`, (L - 1,) each. With `weights`, the weights themselves
    are recorded as well, as NAME, (L, …). Raises ValueError for another model, and for a network of a single layer.
    """

    per_replica = True

    def __init__(self, weights: bool = False) -> None:
        self.weights = weights

    def refusal(self, model: Any, data: pl.LightningDataModule) -> str:
        """Why this model has no increments; nothing where it has."""
        if reason := layers.refusal(model):
            return reason
        depth = min(map(len, model.along_depth().values()))
        return f"increments need at least two layers, and depth is {depth}" if depth < 2 else ""

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if reason := self.refusal(pl_module, trainer.datamodule):  # type: ignore[attr-defined]
            raise ValueError(reason)
        for name, weights in pl_module.along_depth().items():
            increments = layers.increments(weights)
            pl_module.record(f"increments_{name}", increments)
            pl_module.log(f"test/increment_{name}", increments.max())
            pl_module.log(f"test/scaled_{name}", len(weights) * increments.max())
            if self.weights:
                pl_module.record(name, torch.stack(list(weights)))


class Descent(pl.Callback):
    """Watches the loss of full-batch training at every step, each time before the step.

    It logs test/largest_rise, the largest change of the loss from one step to the next relative to the loss before
    (negative where the loss falls at every step), and records the `loss` of steps 0, `every`, 2 `every`, ….

    Raises ValueError for every < 1.
    """

    per_replica = True

    def __init__(self, every: int = 20) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self.every = every
        self.last = self.rise = torch.tensor(math.nan)

    def state_dict(self) -> dict[str, Any]:
        return {"last": self.last, "rise": self.rise}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.last, self.rise = state_dict["last"], state_dict["rise"]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not stepped(trainer, batch_idx):
            return
        loss: Tensor = outputs["loss"].detach()
        last, rise = self.last.to(loss), self.rise.to(loss)
        self.rise = torch.fmax(rise, (loss - last) / last)  # of a number and none, the number
        self.last = loss.clone()
        if (trainer.global_step - 1) % self.every == 0:
            pl_module.record("loss", self.last)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.log("test/largest_rise", self.rise.to(pl_module.device))


def errors(results: Sequence[Result]) -> Errors:
    """The distances of the weights to those of the deep network with the same seed, by weight, depth and seed.

        ( (1/L) sum_i ||V_i - V*_{floor(i D / L)}||^2 )^(1/2),   i = 0 … L - 1

    D is the depth of the deep network, labelled "deep"; the others are labelled "tied".
    """
    deep = {result.seed: result.arrays() for result in results if result.model == DEEP}
    found: Errors = {name: {} for name in WEIGHTS}
    for result in results:
        if result.model == TIED and result.seed in deep:
            arrays = result.arrays()
            for name in WEIGHTS:
                error = distance(arrays[name][-1], deep[result.seed][name][-1])
                found[name].setdefault(len(arrays[name][-1]), {})[result.seed] = error
    return found


def distance(weights: np.ndarray, reference: np.ndarray) -> float:
    """The root of the mean over layers of the squared distance to the reference at the same relative depth.

    Shapes: (L, …) and (D, …), L <= D.
    """
    places = np.arange(len(weights)) * len(reference) // len(weights)
    squares = np.square(weights.astype(np.float64) - reference[places]).reshape(len(weights), -1).sum(1)
    return math.sqrt(squares.mean())


def exponent(by_depth: Mapping[int, float]) -> float:
    """The least-squares slope of log value on log depth."""
    return float(np.polyfit(np.log(list(by_depth)), np.log(list(by_depth.values())), 1)[0])


def convergence(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Metrics over seeds: of each depth error_outer and error_inner, and for the deep network, which is the limit,

    rate_outer, rate_inner   the exponent p in error ~ L^p, fitted for each seed over all depths, then averaged
    """
    found = errors(results)
    rates: dict[str, float] = {}
    of_depth: dict[int, dict[str, float]] = {}
    seeds: list[set[int]] = []
    for name, by_depth in found.items():
        for depth, by_seed in sorted(by_depth.items()):
            of_depth.setdefault(depth, {})[f"error_{name}"] = mean(by_seed.values())
            seeds.append(set(by_seed))
        shared = set.intersection(*map(set, by_depth.values())) if len(by_depth) > 1 else set()
        if shared:
            rates[f"rate_{name}"] = mean(exponent({d: e[s] for d, e in sorted(by_depth.items())}) for s in shared)
    n = len(set.intersection(*seeds)) if seeds else 0
    rows = [{"model": TIED, "point": {"model.init_args.depth": d}, "metrics": m, "n": n} for d, m in of_depth.items()]
    return [*rows, {"model": DEEP, "point": {}, "metrics": rates, "n": n}]

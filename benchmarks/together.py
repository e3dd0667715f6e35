"""What a training needs besides Lightning's DDP where several processes do it: it enters the ids of such Runs.

Every rank starts from the same weights, draws random numbers of its own (its dropout masks are not those of another
rank), and takes its share of each batch; gradients are averaged, so batch_size is that of one process.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.fabric.plugins.environments import TorchElasticEnvironment
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, distributed

from benchmarks.randomness import random_states, set_random_states

if TYPE_CHECKING:
    from benchmarks.ranks import Place


class Together:
    """The part of a training that depends on its being one of several processes."""

    def __init__(self, place: Place, seed: int) -> None:
        self.place = place
        self.callbacks: list[pl.Callback] = [OwnNoise(seed, place.rank), OwnEnding()]
        self.last = OneModel()  # after the one that selects weights

    def arguments(self, config: Mapping[str, Any], module: pl.LightningModule) -> dict[str, Any]:
        """Arguments of the Trainer; a loop of one's own uses its parameters in turn, which DDP has to be told."""
        asked = config["trainer"].get("strategy", "auto")
        default = "ddp" if module.automatic_optimization else "ddp_find_unused_parameters_true"
        return {
            "strategy": default if asked == "auto" else asked,
            "num_nodes": self.place.nodes,
            "plugins": [TorchElasticEnvironment()],
            "use_distributed_sampler": True,  # of an ordinary DataLoader; our own loaders know their rank
        }

    def records(self, own: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rank 0's records, and those of another rank as `NAME.rankN` where it recorded something else."""
        every: list[dict[str, Tensor]] = [{} for _ in range(self.place.world)]
        distributed.all_gather_object(every, own)
        first, *others = every
        return first | {
            f"{name}.rank{rank}": array
            for rank, one in enumerate(others, 1)
            for name, array in one.items()
            if name not in first or not np.array_equal(array.numpy(), first[name].numpy(), equal_nan=True)
        }


def gathered(own: Any) -> list[Any] | None:
    """What each rank has, in their order and on the host, at rank 0; none elsewhere."""
    rank, world = distributed.get_rank(), distributed.get_world_size()
    every: list[Any] | None = None if rank else [None] * world
    distributed.gather_object(apply_to_collection(own, Tensor, lambda tensor: tensor.cpu()), every)
    return every


def require_alike(value: Any, what: str) -> None:
    """Raises RuntimeError where a value is not the same on all ranks."""
    every: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(every, value)
    if any(other != every[0] for other in every):
        raise RuntimeError(
            f"{what} ({', '.join(map(str, every))}): the results folder must be one that all ranks share"
        )


class OwnNoise(pl.Callback):
    """Random numbers that differ by rank, and go on from trainer to trainer, which Lightning would start anew."""

    def __init__(self, seed: int, rank: int) -> None:
        self.seed = int(np.random.SeedSequence([seed, rank]).generate_state(1)[0])
        self.states: dict[str, Any] | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self.states is not None:
            set_random_states(self.states)
            return
        torch.manual_seed(self.seed)
        np.random.seed(self.seed)
        random.seed(self.seed)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.states = random_states(trainer)


class OneModel(pl.Callback):
    """Ends a stage with rank 0's weights and buffers on all ranks: running statistics are each rank's own."""

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for tensor in (*pl_module.parameters(), *pl_module.buffers()):
            dense = tensor.detach().contiguous()
            if dense.numel():
                distributed.broadcast(dense.reshape(-1).view(torch.uint8), 0)  # bytes: backends take not every type
                tensor.detach().copy_(dense)


class OwnEnding(pl.Callback):
    """Keeps SIGTERM in our hands: Lightning's handler would start a collective in the midst of another.

    The ranks stop at different batches, so there is no state to save: a Run that is asked to end does so at once.
    """

    def __init__(self) -> None:
        self.handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        signal.signal(signal.SIGTERM, self.handler)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        signal.signal(signal.SIGTERM, self.handler)

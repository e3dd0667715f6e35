"""The lottery ticket: a network that is trained, pruned by magnitude and rewound, round after round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

import zoo
from zoo._checks import at_least, one_of
from zoo._module import ZooModule
from zoo._stages import Stage
from zoo.sparse._densities import layer_densities
from zoo.sparse._masks import Masked, density, mask, maskable, plain_state
from zoo.sparse.magnitude import by_magnitude


class LotteryTicket(ZooModule):
    """Iterative magnitude pruning with rewinding, for any model with an optimiser of its own.

        round 0: train;   round k: keep the round(keep^k N) largest |w|, put them back to their start, train again

    The start of a weight is its value after `rewind` steps of round 0: at initialisation for 0, else early in the
    training, together with all that is not pruned (biases, norms and their statistics). With restart "fresh" all
    weights are drawn anew in each round instead: the control that is as sparse and has no weights of before. The
    largest weights are those of all layers together (scope "global") or of each layer ("uniform").

    model describes the network as {class_path, init_args}; its `forward`, its `step` and its optimiser are used as they
    are, and shapes are those of that model. Each round is a stage of the benchmark's whole length, logged as
    `round_K/…`; the test is of the last round's network, and adds the `density` of its masked weights. A checkpoint
    holds the ticket beside the trained network: `mask` and `start`.

    Raises ValueError for rounds < 1, keep outside (0, 1), rewind < 0 or beyond round 0, another restart or scope,
    layers that do not exist, a density that leaves a layer empty, and a model without weights to mask, with stages or
    with a loop of its own.

    Source: J. Frankle and M. Carbin, "The lottery ticket hypothesis: finding sparse, trainable neural networks", ICLR
    2019, arXiv:1803.03635; for rewinding to an early step J. Frankle, G. Dziugaite, D. Roy and M. Carbin, "Linear mode
    connectivity and the lottery ticket hypothesis", 2020, arXiv:1912.05671. Deliberate differences: the papers
    prune LeNet layer by layer, its output layer at half the rate of the others; their control with new weights has the
    masks of the ticket, where ours goes on from those of its own trainings; and after a late start every round trains
    as long as round 0, its schedule from the beginning.
    """

    exceptions = {
        "gradients": "its weights have other names while they are masked",
        "masks": "it masks them itself",
        "export": "its forward takes any number of inputs, and the exporter wants their names",
    }
    tiny = {"rounds": 1}

    def __init__(
        self,
        model: dict[str, Any],
        rounds: int = 10,
        keep: float = 0.8,
        rewind: int = 0,
        restart: str = "rewind",
        scope: str = "global",
        layers: Sequence[str] = ("*",),
    ) -> None:
        super().__init__()
        at_least(1, rounds=rounds)
        at_least(0, rewind=rewind)
        if not 0 < keep < 1:
            raise ValueError(f"keep must lie in (0, 1), the share of the weights that a round leaves, got {keep}")
        one_of(("rewind", "fresh"), restart=restart)
        one_of(("global", "uniform"), scope=scope)
        if not isinstance(model, Mapping):
            raise TypeError(f"model is a description {{class_path: …, init_args: …}}, got {type(model).__name__}")
        self.save_hyperparameters()
        self.description = {key: value for key, value in model.items() if key != "checkpoint"}
        self.rounds, self.keep = rounds, keep
        self.layers = (layers,) if isinstance(layers, str) else tuple(layers)
        self.rewind, self.restart, self.scope = rewind, restart, scope
        self.round = 0
        self.late: dict[str, Tensor] = {}  # the start, where it is early in the training
        self.network = zoo.restore(model).train()
        if self.network.stages() or not self.network.automatic_optimization:
            raise ValueError(f"model {type(self.network).__name__} has stages or a loop of its own: give one without")
        chosen = maskable(self.network, self.layers)
        size = sum(owner.get_parameter(leaf).numel() for owner, leaf in chosen.values())
        if round(keep**rounds * size) == 0:
            raise ValueError(
                f"keep {keep} in {rounds} rounds leaves none of the {size:,} weights: keep more, or prune less often"
            )
        if scope == "uniform":
            shapes = {name: owner.get_parameter(leaf).shape for name, (owner, leaf) in chosen.items()}
            layer_densities(shapes, keep**rounds, "uniform")
        self.start, self.mask = nn.Module(), nn.Module()
        for name, tensor in self.network.state_dict().items():
            self.start.register_buffer(_key(name), tensor.detach().clone())
        for name, (owner, leaf) in chosen.items():
            everything = torch.ones_like(owner.get_parameter(leaf), dtype=torch.bool)
            self.mask.register_buffer(_key(name), everything)

    def forward(self, *inputs: Tensor) -> Any:
        return self.network(*inputs)

    def inputs(self, batch: Any) -> tuple[Any, ...]:
        return self.network.inputs(batch)

    def step(self, batch: Any) -> dict[str, Tensor]:
        return self.network.step(batch)

    def configure_optimizers(self) -> Any:
        return self.network.configure_optimizers()

    def stages(self) -> Sequence[Stage]:
        return [Stage(f"round_{k}", self, partial(self.enter, k)) for k in range(self.rounds + 1)]

    def enter(self, number: int, data: pl.LightningDataModule) -> pl.LightningDataModule:
        """Prepares the network of a round; where its training goes on, all of it is restored after this."""
        self.round = number
        if number == 0:
            mask(self.network, self.layers)
            return data
        masks = self.pruned(number)
        for name, own in masks.items():
            self.mask.get_buffer(_key(name)).copy_(own)
        self.put_back()
        mask(self.network, self.layers).set(masks)
        return data

    def pruned(self, number: int) -> dict[str, Tensor]:
        """The masks of a round: the largest of the weights that the round before has left and trained."""
        chosen = maskable(self.network, self.layers)
        weights = {name: owner.get_parameter(leaf) for name, (owner, leaf) in chosen.items()}
        masks = {name: self.mask.get_buffer(_key(name)) for name in weights}
        return by_magnitude(weights, masks, self.keep**number, self.scope)

    def put_back(self) -> None:
        """Every tensor of the network as it was at its start, or drawn anew."""
        start = {name: self.start.get_buffer(_key(name)) for name in self.network.state_dict()}
        if self.restart == "fresh":
            start = zoo.restore(self.description).to(self.device, self.dtype).state_dict()
        self.network.load_state_dict(start)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keeps the start, where it is early in the training of round 0."""
        if self.round == 0 and not self.late and 0 < self.rewind == self.trainer.global_step:
            self.late = {_key(name): tensor.detach().clone() for name, tensor in plain_state(self.network).items()}
            self._keep_late()

    def _keep_late(self) -> None:
        for name, tensor in self.late.items():
            self.start.get_buffer(name).copy_(tensor)

    def on_train_start(self) -> None:
        if self.round == 0 and 0 < self.rewind <= self.trainer.global_step:  # it was there before an interruption
            self.late = {name: tensor.clone() for name, tensor in self.start.named_buffers()}
        if self.rewind > (steps := self.trainer.estimated_stepping_batches):
            told = "take an earlier one, or train for longer"
            raise ValueError(f"rewind must be a step of round 0, which has {steps}, got {self.rewind}: {told}")

    def teardown(self, stage: str) -> None:
        if stage == "fit":
            Masked(self.network).merge()
            self._keep_late()  # weights of before it may have been selected, with the start of then

    def test_step(self, batch: Any, batch_idx: int) -> None:
        scalars = {**self.step(batch), "density": torch.tensor(density(self.mask.buffers()))}
        self.log_scalars("test", scalars, len(self.inputs(batch)[0]))


def _key(name: str) -> str:
    """A tensor's name as that of a buffer, which has no dots."""
    return name.replace(".", "/")

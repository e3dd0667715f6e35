"""Pruning on several devices: ranks that see other batches, and draw other numbers, stay one and the same network."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.sparse import SET, SNIP, FullyConnected, GraSP, RandomPruning
from zoo.sparse._masks import Masked
from zoo.sparse._pruning import Pruning


class Wire:
    """What the first rank broadcasts, for the second one to hear in the same order."""

    def __init__(self) -> None:
        self.said: list[Tensor] = []
        self.rank = 0

    def broadcast(self, tensor: Tensor) -> Tensor:
        if self.rank == 0:
            self.said.append(tensor.clone())
            return tensor
        return self.said.pop(0)


def rank(method: Pruning, number: int, wire: Wire | None) -> tuple[dict[str, Tensor], dict[str, Tensor], list[Tensor]]:
    """Masks, weights and momenta after the first step and a change, with gradients that all ranks have in common."""
    torch.manual_seed(0)
    model = FullyConnected(12, 3, (16, 8))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    trainer: Any = SimpleNamespace(world_size=1 if wire is None else 2, global_step=0, optimizers=[optimizer])
    trainer.strategy, trainer.estimated_stepping_batches = wire, 30
    if wire is not None:
        wire.rank = number
    method.setup(trainer, model, "fit")
    method.on_train_start(trainer, model)
    torch.manual_seed(number + 1)  # from here on, what a rank draws and sees is its own
    method.on_train_batch_start(trainer, model, (torch.randn(8, 12), torch.arange(8) % 3), 0)
    masked, common = Masked(model), torch.Generator().manual_seed(5)
    for trainer.global_step in (0, 10):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=common)
        for name, weight in masked.weights.items():
            assert weight.grad is not None
            weight.grad *= masked.masks[name]
        method.on_before_optimizer_step(trainer, model, optimizer)
        optimizer.step()
    momenta = [optimizer.state[weight]["momentum_buffer"] for weight in masked.weights.values()]
    return masked.masks, {name: weight.detach() for name, weight in masked.weights.items()}, momenta


@pytest.mark.parametrize(
    ("method", "arguments"),
    [(SNIP, {}), (GraSP, {}), (RandomPruning, {"distribution": "snip"}), (SET, {"every": 10, "zeta": 0.5})],
)
def test_ranks_have_the_masks_weights_and_moments_of_the_first(method: Any, arguments: dict[str, Any]) -> None:
    """To the bit, and unlike what the second one comes to by itself."""
    wire = Wire()
    (masks, weights, momenta), (theirs, others, kept) = (rank(method(0.3, **arguments), n, wire) for n in (0, 1))
    alone = rank(method(0.3, **arguments), 1, None)[0]
    assert not wire.said, "all that was said was heard"
    assert any(not torch.equal(masks[name], alone[name]) for name in masks)
    for name, own in masks.items():
        assert torch.equal(own, theirs[name])
        assert torch.equal(weights[name], others[name])
        assert not weights[name][~own].any()
    assert all(torch.equal(one, other) for one, other in zip(momenta, kept, strict=True))

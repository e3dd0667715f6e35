"""The other side of a pair: plain PyTorch loops, as one writes them who minds their speed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import train
from benchmarks.pairs._harness import now, seeded

Loss = Callable[[Tensor, Tensor], Tensor]
Batches = Iterable[Any]


def assembled(settings: Mapping[str, Any], seed: int, device: str) -> tuple[nn.Module, torch.optim.Optimizer, Any]:
    """A model with the weights that the harness starts from, its own optimiser, and the data."""
    model, data = train.assemble(seeded(settings, seed), seed)
    model.to(device)
    optimizer = model.configure_optimizers()
    assert isinstance(optimizer, torch.optim.Optimizer), "a model with an optimiser and no schedule"
    return model.train(), optimizer, data


def loop(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Loss, batches: Batches, device: str) -> Tensor:
    """Trains on the batches; the sum of their losses stays on the device."""
    total = torch.zeros((), device=device)
    for x, y in batches:
        optimizer.zero_grad(set_to_none=True)
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        total += value.detach()
    return total


def timed(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss: Loss, batches: Batches, device: str, skip: int = 0
) -> float:
    """Seconds of the loop on the batches after the first `skip` ones."""
    remaining = iter(batches)
    loop(model, optimizer, loss, itertools.islice(remaining, skip), device)
    start = now(device)
    loop(model, optimizer, loss, remaining, device)
    return now(device) - start


def tested(model: nn.Module, loss: Loss, data: Any, device: str) -> float:
    """The loss on the first held-out batch."""
    x, y = next(iter(data.test_dataloader()))
    with torch.inference_mode():
        return float(loss(model.eval()(x.to(device)), y.to(device)))


def drawn(data: Any, count: int, device: str) -> list[tuple[Tensor, ...]]:
    """The first `count` training batches that the harness would see, on the device beforehand."""
    found: list[tuple[Tensor, ...]] = []
    for epoch in itertools.count():
        loader = data.train_dataloader()
        loader.set_epoch(epoch)
        for batch in loader:
            if len(found) == count:
                return found
            found.append(tuple(tensor.to(device) for tensor in batch))
    raise AssertionError


def indexed(x: Tensor, y: Tensor, order: Callable[[], Tensor], size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of tensors that lie in memory, in an order that is drawn when the first of them is asked for."""
    for chosen in order().split(size):
        yield x[chosen], y[chosen]

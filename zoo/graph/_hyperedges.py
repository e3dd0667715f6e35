"""What models of hyperedges share: a probability that nodes form one, the loss, and the hyperedges trained on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo._checks import at_least, positive
from zoo._module import ZooModule


class HyperedgeModel(ZooModule):
    """The probability p that a set of nodes is a hyperedge.

        loss = mean of w BCE(p, label),   w = positive_weight for label 1, and 1 for label 0

    `forward` maps hyperedges (N, k) of numbers of nodes, -1 where there is none, to p (N,), for any k. The numbers of
    the nodes of each of several types follow those of the type before: `nodes` says how many there are. `predict`
    raises ValueError for what is no set of nodes: one that is empty, has a number out of range or a node twice, or,
    where there are several types, two nodes of one type. A batch is (hyperedges, labels). Logged beside the loss is the
    `accuracy`, the share of samples on whose side of 1/2 p is.

    What a model has to know of the hyperedges that it is trained on it reads when its training starts: those with label
    1 of the data module's training split, or what `read` was given before; at most `hyperedges` of them, each of at
    most `max_size` nodes, so that the buffers that keep them have a size that the data knows.
    """

    ready: Tensor

    def __init__(self, nodes: Sequence[int], hyperedges: int, max_size: int, positive_weight: float, lr: float) -> None:
        super().__init__()
        at_least(1, nodes=nodes, hyperedges=hyperedges)
        at_least(2, max_size=max_size)
        positive(positive_weight=positive_weight, lr=lr)
        self.nodes, self.hyperedges, self.max_size = tuple(nodes), hyperedges, max_size
        self.positive_weight, self.lr = positive_weight, lr
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))

    @property
    def total(self) -> int:
        return sum(self.nodes)

    def read(self, hyperedges: Tensor) -> None:
        """Takes what the model has to know of the hyperedges (E, k) that it is to be trained on.

        Raises ValueError for what `predict` refuses, and for more or larger ones than the model was made for.
        """
        check_hyperedges(hyperedges, self.nodes)
        most = (self.hyperedges, self.max_size)
        if not (0 < hyperedges.shape[0] <= most[0] and hyperedges.shape[1] <= most[1]):
            raise ValueError(
                f"expected at most {most[0]} hyperedges of at most {most[1]} nodes, and at least one, "
                f"got {tuple(hyperedges.shape)}: raise the model's hyperedges or max_size"
            )
        self.take(hyperedges.to(self.device))
        self.ready.fill_(value=True)

    def take(self, hyperedges: Tensor) -> None:
        """Sets buffers and initial values by hyperedges that were checked; nothing, unless overridden."""

    def on_fit_start(self) -> None:
        if self.ready:
            return
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if not hasattr(data, "tensors"):
            raise ValueError(
                f"{type(self).__name__} has no hyperedges to train on: give them to its `read` before, or "
                "fit it with a data module that has `tensors`"
            )
        hyperedges, labels = data.tensors("train")
        self.read(hyperedges[labels == 1])

    def complete(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        if "hyperedges" in given:
            check_hyperedges(given["hyperedges"], self.nodes)
        return given

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        return self.scalars(self(batch[0]), batch[1])

    def scalars(self, p: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """What is logged of probabilities and labels, (N,) each."""
        weight = torch.where(labels == 1, self.positive_weight, 1.0).to(p)
        loss = F.binary_cross_entropy(p, labels.to(p), weight)
        return {"loss": loss, "accuracy": ((p > 0.5) == (labels == 1)).float().mean()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def check_hyperedges(hyperedges: Tensor, nodes: Sequence[int]) -> None:
    """Raises ValueError, naming the first, where rows (E, k) are no sets of nodes, or have two nodes of a type."""
    total = sum(nodes)
    if hyperedges.ndim != 2 or hyperedges.is_floating_point() or hyperedges.dtype == torch.bool:
        told = f"{tuple(hyperedges.shape)} of {hyperedges.dtype}"
        raise ValueError(f"expected hyperedges of whole numbers of shape (N, k), got {told}")
    starts = torch.tensor([0, *accumulate(nodes)][:-1], device=hyperedges.device)
    types = torch.bucketize(hyperedges.contiguous(), starts, right=True) - 1
    ranges = ", ".join(f"{int(start)} to {int(start) + size - 1}" for start, size in zip(starts, nodes, strict=True))
    refusals = (
        (((hyperedges < -1) | (hyperedges >= total)).any(1), f"the nodes are 0 to {total - 1}, and -1 is none"),
        ((hyperedges < 0).all(1), "it is empty"),
        (_repeats(hyperedges), "a node comes twice"),
        (_repeats(types) & (len(nodes) > 1), f"it has two nodes of one type, whose numbers are {ranges}"),
    )
    for bad, reason in refusals:
        if bool(bad.any()):
            number = int(bad.nonzero()[0])
            raise ValueError(f"hyperedges[{number}] is {hyperedges[number].tolist()}: {reason}")


def _repeats(rows: Tensor) -> Tensor:
    """Whether a number from 0 up comes twice in a row, (E,)."""
    ordered = rows.sort(1).values
    return ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(1)


def mean_over(values: Tensor, hyperedges: Tensor) -> Tensor:
    """The mean over the nodes that there are, (N, …) of (N, k, …)."""
    present = (hyperedges >= 0).view(*hyperedges.shape, *[1] * (values.ndim - 2))
    return torch.where(present, values, 0.0).sum(1) / present.sum(1)

"""How well sums of features over neighbours tell the training nodes apart: what the rate of training rests on."""

from __future__ import annotations

import warnings
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor


class OfOperator(pl.Callback):
    """What looks at the operator of a model of nodes."""

    def refusal(self, model: Any, data: Any) -> str:
        """Why there is no operator to look at; nothing where there is."""
        return "" if hasattr(model, "propagate") else f"{type(model).__name__} sums nothing over neighbours"


class Conditioning(OfOperator):
    """Measures at the end, of the model's operator S and the k training nodes I, for l = 0 … depth:

        test/smallest_l   sigma_min^2 of X (S^l)_{*I}
        test/stacked_l    sigma_min^2 of X, X S, …, X S^l on top of each other, at I
        test/largest_l    sigma_max^2 of X (S^l)_{*I}

    and records each over l, as `smallest`, `stacked` and `largest`. All is computed in double precision. The loss of a
    linear network falls at a rate in proportion to sigma_min^2; at the least l where that is 0 it warns, and says why.

    Raises ValueError for a negative depth. For models of nodes with an operator (LinearGNN, SkipGNN).
    """

    def __init__(self, depth: int = 4) -> None:
        if depth < 0:
            raise ValueError(f"depth must be at least 0, got {depth}")
        self.depth = depth

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        batch = trainer.datamodule.tensors("train")  # type: ignore[attr-defined]
        columns = training_columns(pl_module, batch, self.depth)
        for name, values in conditioning(columns).items():
            pl_module.record(name, values)
            for scale, value in enumerate(values):
                pl_module.log(f"test/{name}_{scale}", value)
        numbers = batch[3][0].nonzero()[:, 0]
        for scale, own in enumerate(columns):
            if reason := why_singular(own, numbers):
                text = f"sigma_min of X S^{scale} at the {len(numbers)} training nodes is 0: {reason}"
                warnings.warn(text, stacklevel=2)
                break


class LabelAlignment(OfOperator):
    """How much of the training labels lies along directions in which a linear network learns fast. It logs

        test/alignment   ||X (S^H)_{*I} Y^T||^2 / (sigma_max^2 ||Y||^2)

    the mean of sigma_i^2 / sigma_max^2 over right singular directions i, weighted by the squares of the one-hot labels
    Y along them. H is the depth of the model, one of nodes with an operator (LinearGNN, SkipGNN).
    """

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        batch = trainer.datamodule.tensors("train")  # type: ignore[attr-defined]
        columns = training_columns(pl_module, batch, len(pl_module.layers))[-1]
        pl_module.log("test/alignment", alignment(columns, batch[2][0][batch[3][0]]))


def alignment(columns: Tensor, labels: Tensor) -> Tensor:
    """The share above, of columns (k, m) with labels (k,)."""
    targets = torch.nn.functional.one_hot(labels).to(columns)
    return (columns.T @ targets).square().sum() / (torch.linalg.matrix_norm(columns, 2) ** 2 * len(labels))


def training_columns(model: Any, batch: tuple[Tensor, ...], depth: int) -> Tensor:
    """(X S^l)^T at the nodes of the mask for l = 0 … depth, (depth + 1, k, m) in double precision."""
    features, edges, _, mask = (tensor[0] for tensor in batch)
    powers = [features.double()]
    for _ in range(depth):
        powers.append(model.propagate(powers[-1], edges))
    return torch.stack([power[mask] for power in powers])


def conditioning(columns: Tensor) -> dict[str, Tensor]:
    """The squared singular values above, (depth + 1,) each, of columns (depth + 1, k, m)."""
    alone = [_squares(own) for own in columns]
    stacked = [_squares(columns[: scale + 1].transpose(0, 1).flatten(1)) for scale in range(len(columns))]
    return {
        "smallest": torch.stack([squares[-1] for squares in alone]),
        "stacked": torch.stack([squares[-1] for squares in stacked]),
        "largest": torch.stack([squares[0] for squares in alone]),
    }


def _squares(columns: Tensor) -> Tensor:
    """The k squared singular values of (k, m), some of them 0 where k > m."""
    values = torch.linalg.svdvals(columns).square()
    return torch.cat([values, values.new_zeros(len(columns) - len(values))])


def why_singular(columns: Tensor, numbers: Tensor) -> str:
    """Which nodes make the least singular value of columns (k, m) zero, by their numbers (k,); nothing if none do."""
    nodes, features = columns.shape
    if nodes > features:
        return f"there are more of them than the {features} features"
    values = torch.linalg.svdvals(columns)
    if values[-1] > features * torch.finfo(values.dtype).eps * values[0]:
        return ""
    apart = torch.stack([(columns - column).abs().amax(1) for column in columns])
    same = (apart <= 1e-12 * columns.abs().max()).triu(1).nonzero()
    if not len(same):
        return "a combination of several nodes vanishes"
    pairs = ", ".join(f"{int(numbers[a])} and {int(numbers[b])}" for a, b in same[:3])
    more = f", and of {len(same) - 3} pairs more," if len(same) > 3 else ""
    return (
        f"the features of nodes {pairs}{more} coincide there: from the start, or as after sums over neighbours those "
        "of two neighbours do that have all other neighbours in common (a component of two nodes, say). No rate of "
        "convergence is promised, and labels that differ at such nodes cannot both be fitted: leave one of each pair "
        "out of the training nodes"
    )

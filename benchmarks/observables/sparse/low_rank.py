"""What is left of a network whose convolutions are made low-rank after its training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from zoo.sparse.rank_pruning import as_matrix, cost, decompose, wide_convolutions


class LowRank(pl.Callback):
    """Factorises a trained network's convolutions, and tests the result without any further training.

        test/factorised_accuracy    with the least ranks that hold the energy of each kernel
        test/factorised_drop        accuracy lost by that
        test/weight_ratio           weights of convolutions and linear layers, before by after
        test/multiplication_ratio   multiplications a sample, before by after
        test/rank_share             ranks by full ranks, averaged over the layers
        test/drop_at_rank_S         accuracy lost with the share S of each layer's full rank, rounded up: networks that
                                    were trained in different ways are compared at equal ranks by it

    and records `ranks`, those ranks and the full ones by layer. Raises ValueError for no shares or one outside (0, 1].
    """

    def __init__(
        self,
        scheme: str = "channel",
        energy: float = 0.9,
        shares: Sequence[float] = (0.125, 0.25, 0.5, 0.75),
        skip: int = 1,
    ) -> None:
        if not shares or not all(0 < share <= 1 for share in shares):
            raise ValueError(f"shares must lie in (0, 1], got {shares}")
        self.scheme, self.energy, self.shares, self.skip = scheme, energy, tuple(shares), skip

    def refusal(self, model: pl.LightningModule, data: pl.LightningDataModule) -> str:
        """Why there is nothing to factorise; nothing where there is."""
        name = type(model).__name__
        return "" if wide_convolutions(model, self.skip) else f"{name} has no convolution whose rank could be lowered"

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        batches = [tuple(part.to(pl_module.device) for part in batch) for batch in data.test_dataloader()]
        layers = wide_convolutions(pl_module, self.skip)
        full = {name: min(as_matrix(layer.weight, self.scheme).shape) for name, layer in layers.items()}
        before = accuracy(pl_module, batches)
        factorised, ranks = decompose(pl_module, self.scheme, self.energy, skip=self.skip)
        self._log_sizes(pl_module, factorised, batches[0][0][:1])
        after = accuracy(factorised, batches)
        share = sum(ranks[name] / full[name] for name in full) / len(full)
        scalars = {"factorised_accuracy": after, "factorised_drop": before - after, "rank_share": share}
        for share in self.shares:
            fixed = {name: -int(-share * rank // 1) for name, rank in full.items()}
            lowered, _ = decompose(pl_module, self.scheme, ranks=fixed, skip=self.skip)
            scalars[f"drop_at_rank_{share:g}"] = before - accuracy(lowered, batches)
        pl_module.log_dict({f"test/{name}": value for name, value in scalars.items()})
        pl_module.record("ranks", torch.tensor([[ranks[name], full[name]] for name in full]))

    def _log_sizes(self, before: Any, after: Any, sample: Tensor) -> None:
        (weights, multiplications), (fewer_weights, fewer_multiplications) = cost(before, sample), cost(after, sample)
        before.log("test/weight_ratio", weights / fewer_weights)
        before.log("test/multiplication_ratio", multiplications / fewer_multiplications)


@torch.no_grad()
def accuracy(model: Any, batches: Sequence[tuple[Tensor, ...]]) -> float:
    """The share of the samples that a classifier's logits are right about, in evaluation mode."""
    right = [(model(x).argmax(1) == labels).sum() for x, labels in batches]
    return float(torch.stack(right).sum()) / sum(len(labels) for _, labels in batches)

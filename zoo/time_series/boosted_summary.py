"""BoostedSummary: gradient-boosted trees on what a few numbers say of each channel of an irregular series."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from zoo._checks import at_least, positive
from zoo._irregular import completed
from zoo._module import ZooModule
from zoo._scores import scores

SUMMARIES = ("count", "mean", "deviation", "least", "greatest", "first", "last")


class BoostedSummary(ZooModule):
    """F(s) = b + lr (T_1(s) + … + T_R(s)): a sum of trees, each fitted to what those before it leave of the gradient.

    s are seven numbers of each channel: how often it was observed, mean, deviation, least, greatest, first and last of
    its values; all but the first are missing (NaN) where it never was, and each split has a side for what is missing.
    Of a channel that no training series has nothing depends.
    With two classes the logits are (0, F), otherwise F has a tree a class in each of the R rounds.
    No tree is deeper than `depth`, and no leaf has fewer than `samples` training series.

    `forward` maps values (N, T, C), mask (N, T, C) and times (N, T) to logits (N, num_classes);
    `predict(values, times=times)` takes NaN for what was not observed. The training split is one batch (values, mask,
    times, labels), on which scikit-learn's histogram boosting fits the trees in one epoch, after which the training
    ends, whatever the trainer was told; they are kept as buffers, and followed by torch in double precision. Raises
    ValueError for a size below 1, fewer than two classes, an lr that is not positive, a training split of several
    batches, and one that lacks a class or has others.

    Source: J. H. Friedman, "Greedy function approximation: a gradient boosting machine", Annals of Statistics 29, 2001;
    histograms: G. Ke et al., "LightGBM: a highly efficient gradient boosting decision tree", NeurIPS 2017. The
    summaries are ours.
    """

    one_batch = True
    tiny: ClassVar[dict[str, Any]] = {"rounds": 3}
    exceptions: ClassVar[dict[str, str]] = {"gradients": "trees have no gradient: they are fitted greedily"}
    base: Tensor

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        rounds: int = 200,
        depth: int = 3,
        samples: int = 20,
        lr: float = 0.05,
    ) -> None:
        super().__init__()
        at_least(1, in_channels=in_channels, rounds=rounds, depth=depth, samples=samples)
        at_least(2, num_classes=num_classes)
        positive(lr=lr)
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.rounds, self.depth, self.samples, self.lr = rounds, depth, samples, lr
        self.num_classes = num_classes
        self.outputs = 1 if num_classes == 2 else num_classes
        trees = (rounds, self.outputs, 2 ** (depth + 1) - 1)
        for name in ("feature", "left", "right"):
            self.register_buffer(name, torch.zeros(trees, dtype=torch.int64))
        self.register_buffer("missing_left", torch.zeros(trees, dtype=torch.bool))
        for name in ("threshold", "value"):
            self.register_buffer(name, torch.zeros(trees, dtype=torch.float64))
        self.register_buffer("base", torch.zeros(self.outputs, dtype=torch.float64))

    def forward(self, values: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        found = self.grown(summaries(values, mask).double()).to(values.dtype)
        return torch.cat([torch.zeros_like(found), found], 1) if self.outputs == 1 else found

    def grown(self, s: Tensor) -> Tensor:
        """F, (N, outputs), of summaries (N, S): each tree is followed to a leaf, which leads to itself."""
        feature, left, right, missing_left, threshold, value = (
            getattr(self, name).flatten(0, 1)
            for name in ("feature", "left", "right", "missing_left", "threshold", "value")
        )
        tree = torch.arange(len(feature), device=s.device)
        node = torch.zeros_like(s[:, :1], dtype=torch.int64).expand(-1, len(tree))
        for _ in range(self.depth):
            x = s.gather(1, feature[tree, node])
            goes_left = torch.where(x.isnan(), missing_left[tree, node], x <= threshold[tree, node])
            node = torch.where(goes_left, left[tree, node], right[tree, node])
        return self.base + value[tree, node].unflatten(1, (self.rounds, self.outputs)).sum(1)

    def fit(self, s: Tensor, labels: Tensor) -> None:
        """Grows the trees on summaries (N, S) and labels (N,)."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        if (classes := labels.unique().tolist()) != list(range(self.num_classes)):
            told = f"the training split must have classes 0 to {self.num_classes - 1}, got {classes}"
            raise ValueError(f"{told}: take a larger split, another seed or another num_classes")
        boosting = HistGradientBoostingClassifier(
            learning_rate=self.lr,
            max_iter=self.rounds,
            max_depth=self.depth,
            max_leaf_nodes=None,
            min_samples_leaf=self.samples,
            early_stopping=False,
            random_state=0,
        )
        known = torch.where(s.isnan().all(0), 0.0, s.double())  # what was never observed splits nothing
        boosting.fit(known.cpu().numpy(), labels.cpu().numpy())
        self.base.copy_(torch.from_numpy(np.ravel(boosting._baseline_prediction)))
        for number, trees in enumerate(boosting._predictors):
            for output, tree in enumerate(trees):
                self._keep(tree.nodes, (number, output))

    def _keep(self, nodes: Any, place: tuple[int, int]) -> None:
        own, leaf = np.arange(len(nodes)), nodes["is_leaf"].astype(bool)
        found = {
            "feature": np.where(leaf, 0, nodes["feature_idx"]),
            "left": np.where(leaf, own, nodes["left"]),
            "right": np.where(leaf, own, nodes["right"]),
            "missing_left": nodes["missing_go_to_left"].astype(bool),
            "threshold": nodes["num_threshold"],
            "value": nodes["value"],
        }
        for name, array in found.items():
            buffer = getattr(self, name)[place][: len(nodes)]
            buffer.copy_(torch.from_numpy(np.ascontiguousarray(array)))

    def inputs(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return batch[:3]

    def complete(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        return completed(given, torch.float32, self.hparams["in_channels"])

    def step(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        return scores(self(*self.inputs(batch)), batch[3])

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        values, mask, _, labels = batch
        if (batches := self.trainer.num_training_batches) != 1:
            raise ValueError(f"the training split must be one batch, got {batches}: raise the data's batch_size")
        self.fit(summaries(values, mask), labels)

    def on_train_epoch_end(self) -> None:
        self.trainer.should_stop = True

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return []


def summaries(values: Tensor, mask: Tensor) -> Tensor:
    """The seven numbers of each channel, (N, 7 C), NaN where it was never observed."""
    count = mask.sum(1)
    some, total = count > 0, count.clamp(min=1)
    seen = torch.where(mask, values, 0.0)
    mean = seen.sum(1) / total
    squared = torch.where(mask, values - mean[:, None], 0.0).square().sum(1) / total
    position = torch.arange(mask.shape[1], device=mask.device)[:, None]
    first = torch.where(mask, position, mask.shape[1] - 1).amin(1, keepdim=True)
    last = torch.where(mask, position, 0).amax(1, keepdim=True)
    of_values = (
        mean,
        squared.sqrt(),
        torch.where(mask, values, torch.inf).amin(1),
        torch.where(mask, values, -torch.inf).amax(1),
        values.gather(1, first)[:, 0],
        values.gather(1, last)[:, 0],
    )
    return torch.cat([count.to(values), *(torch.where(some, x, torch.nan) for x in of_values)], 1)

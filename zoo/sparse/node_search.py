"""Random search among the node subsets of a wide network, and the sub-network that it trains (Farahani, 2024)."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import at_least, positive
from zoo._module import ZooModule
from zoo._scores import scores


class NodeSubnetwork(ZooModule):
    """A ReLU network of k = round((1 - sparsity) width) of the hidden nodes of a wider one, its parent.

        parent:       f(x) = b + A relu(W x + c),   W (width, in_features), A (num_classes, width)
        sub-network:  f_S(x) = b + A[:, S] relu(W[S] x + c[S]),   |S| = k

    S is a random subset, or that which `NodeSearch` puts in its place before training; `nodes` holds it. The nodes
    keep their weights of the parent, unscaled: W is Kaiming-normal, A normal with deviation width^-1/2, and biases are
    zero. With sparsity 0 it is the parent. Only the sub-network's weights are parameters.

    Shapes: x is (N, …) with in_features numbers a sample, the logits are (N, num_classes). `step` gives cross-entropy
    and accuracy. Trained by SGD with momentum 0.9 at a constant rate unless a schedule is set.

    Raises ValueError for a size below 1, lr that is not positive, and a sparsity outside [0, 1) or that leaves no node.

    Source: R. Farahani, "Random Search as a Baseline for Sparse Neural Network Architecture Search", 2024,
    arXiv:2403.08265. Width, initialisation and optimiser are ours.
    """

    vectorizes = True
    tiny = {"width": 40, "sparsity": 0.5}

    def __init__(
        self, in_features: int, num_classes: int, width: int = 1000, sparsity: float = 0.9, lr: float = 0.1
    ) -> None:
        super().__init__()
        at_least(1, in_features=in_features, num_classes=num_classes, width=width)
        positive(lr=lr)
        if not 0 <= sparsity < 1:
            raise ValueError(f"sparsity must lie in [0, 1), got {sparsity}")
        if not (kept := round((1 - sparsity) * width)):
            raise ValueError(f"sparsity {sparsity} leaves no node of width = {width}; give it more")
        self.save_hyperparameters()
        self.hidden, self.head = nn.Linear(in_features, kept), nn.Linear(kept, num_classes)
        # what training starts from is a function of the seed, and is not saved again with every checkpoint
        first = math.sqrt(2 / in_features) * torch.randn(width, in_features)
        self.register_buffer("parent_in", first, persistent=False)
        self.register_buffer("parent_out", torch.randn(num_classes, width) / math.sqrt(width), persistent=False)
        self.register_buffer("search_seed", torch.randint(2**62, ()), persistent=False)
        self.register_buffer("nodes", torch.randperm(width)[:kept])
        self.register_buffer("initial_loss", torch.tensor(math.inf))
        for layer in (self.hidden, self.head):
            nn.init.zeros_(layer.bias)
        self.keep(self.nodes)

    nodes: Tensor
    parent_in: Tensor
    parent_out: Tensor
    search_seed: Tensor
    initial_loss: Tensor

    @torch.no_grad()
    def keep(self, nodes: Tensor) -> None:
        """Puts the parent's nodes of these (k,) indices in place of the sub-network's, with their initial weights."""
        self.nodes.copy_(nodes)  # all in place: in a stack of seeds these are views of its tensors
        self.hidden.weight.copy_(self.parent_in[nodes])
        self.head.weight.copy_(self.parent_out[:, nodes])

    def subsets(self, candidates: int) -> Tensor:
        """The present nodes and random subsets of as many, which belong to the seed: (candidates, k)."""
        source = torch.Generator().manual_seed(int(self.search_seed))
        drawn = torch.rand(candidates - 1, len(self.parent_in), generator=source).argsort(1)[:, : len(self.nodes)]
        return torch.cat([self.nodes[None], drawn.to(self.nodes)])

    @torch.no_grad()
    def losses(self, subsets: Tensor, x: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy at initialisation of the sub-networks of (R, k) nodes, all at once: (R,)."""
        hidden = F.relu(x.flatten(1) @ self.parent_in.T)
        masks = torch.zeros(len(subsets), len(self.parent_in)).to(hidden).scatter_(1, subsets, 1.0)
        logits = torch.einsum("nh,rch->rcn", hidden, masks[:, None] * self.parent_out)
        return F.cross_entropy(logits, labels.expand(len(subsets), -1), reduction="none").mean(1)

    def search(self, x: Tensor, labels: Tensor, candidates: int) -> None:
        """Keeps the one of so many subsets that has the lowest loss on these samples, and that as `initial_loss`."""
        subsets = self.subsets(candidates)
        losses = self.losses(subsets, x, labels)
        self.keep(subsets[losses.argmin()])
        self.initial_loss.copy_(losses.min())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.hidden(x.flatten(1))))

    def step(self, batch: Any) -> dict[str, Tensor]:
        x, labels = batch
        return scores(self(x), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.hparams["lr"], momentum=0.9)


class NodeSearch(pl.Callback):
    """Before the first step, the subset of a NodeSubnetwork's nodes with the lowest training loss among random ones.

        S = argmin_r L(f_{S_r}),   r = 1 … candidates,   L on the first epoch's first `batches` batches, or all of them

    S_1 is the subset that the model has without a search, so that one candidate means none. All candidates are
    evaluated at once, and no validation or test data are looked at. It logs

        test/initial_loss   L of the kept sub-network before training

    Raises ValueError for candidates or batches < 1, for another model, data without training batches by position,
    and several devices.
    """

    per_replica = True

    def __init__(self, candidates: int = 200, batches: int | None = None) -> None:
        at_least(1, candidates=candidates)
        if batches is not None:
            at_least(1, batches=batches)
        self.candidates, self.batches = candidates, batches

    def refusal(self, model: pl.LightningModule, data: pl.LightningDataModule) -> str:
        """Why there is nothing to search here; nothing where there is."""
        if not isinstance(model, NodeSubnetwork):
            return f"the search is for the nodes of NodeSubnetwork, and {type(model).__name__} has none to choose from"
        return "" if hasattr(data, "loader") else f"{type(data).__name__} has no loader(split) of batches by position"

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if reason := self.refusal(pl_module, data):
            raise ValueError(reason)
        if trainer.world_size > 1:
            raise ValueError(f"the search takes one device, and this training has {trainer.world_size}")
        if trainer.global_step == 0:  # later the choice lies in the restored weights
            loader = data.loader("train")
            batches = [loader.batch(0, n) for n in range(min(self.batches or len(loader), len(loader)))]
            x, labels = (torch.cat(parts).to(pl_module.device) for parts in zip(*batches, strict=True))
            pl_module.search(x.to(pl_module.dtype), labels, self.candidates)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.log("test/initial_loss", pl_module.initial_loss)

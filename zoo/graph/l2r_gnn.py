"""L2RGNN: a graph network trained on weights under which the variables of its embedding are independent."""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from zoo._checks import at_least, not_negative, positive
from zoo.graph._decorrelation import clustered, dissimilarity, learned_weights
from zoo.graph._whole_graphs import GraphClassifier


class L2RGNN(GraphClassifier):
    """A GIN whose training graphs are weighted: what only comes with a cause then says nothing of it.

        theta <- theta - lr grad mean_n w_n loss_n(theta),   w = argmin sum_{i<j} [c(i) != c(j)] ||Sigma_ij(w)||^2

    Sigma_ij is the covariance under the weights of u(z_i) and v(z_j), u and v random Fourier functions of two variables
    of the embedding z, and c(i) the cluster of variable i. Variables whose correlation is the same in every batch are
    put in one cluster, and stay as they are: only what is between clusters is taken away, so that fewer graphs are
    lost. With `clusters` = hidden_features each is its own (OOD-GNN); with 1 all weights stay 1 and this is GIN.

    Weights and network are learned in two levels. In each batch the embedding is that of the parameters after a step
    at rate `inner_lr` on weights 1, of which a copy takes over 1 - momentum; from logits 0, `weight_steps` steps of
    descent at rate `weight_lr` follow, on the mean square of an entry and `spread` times the weights' variance, through
    which no derivative of that step is taken (first order). The last `queue` batches, with the weights that they had,
    are part of the covariance and the groups of the clustering.

    Shapes: x is (B, n, in_features), edges (B, 2, E) with -1 behind the last of a graph, mask (B, n), the logits are
    (B, num_classes); batch_size is how many graphs the queue keeps of a batch. It predicts as GIN does. Logged in
    training are the weighted `loss`, `accuracy`, the `penalty`, `effective`, (sum w)^2 / (B sum w^2), and `clusters`,
    how many there are. Adam's rate falls by a cosine to 0 at the end. Raises ValueError for a size below 1 (a queue may
    be 0 where nothing is clustered), a rate that is not positive, a momentum outside [0, 1), a negative spread, more
    clusters than variables and whatever GIN refuses.

    Source: Z. Chen, T. Xiao, K. Kuang et al., "Learning to reweight for graph neural network", AAAI 2024,
    arXiv:2312.12475; without clusters: H. Li, X. Wang, Z. Zhang and W. Zhu, "OOD-GNN: out-of-distribution generalized
    graph neural network", 2021, arXiv:2112.03806. Deliberate differences: Sigma is a covariance under weights, where
    the papers' formula has that of the products w u and w v, in which weights enter squared; the variance of the
    weights counts. What they leave open: embeddings are standardised, functions drawn for each batch, weights
    exp(logits) over their mean, clusters found by k-means on the rows of the dissimilarities, the queue first in, first
    out.
    """

    tiny: ClassVar[dict[str, Any]] = {"hidden_features": 4, "layers": 2, "clusters": 2, "weight_steps": 2}
    exceptions: ClassVar[dict[str, str]] = {
        "masks": "a copy follows the weights, which are less sparse than any of them",
    }
    queue_z: Tensor
    queue_w: Tensor
    queue_there: Tensor

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        batch_size: int,
        hidden_features: int = 16,
        layers: int = 3,
        readout: str = "mean",
        clusters: int = 4,
        functions: int = 5,
        queue: int = 3,
        momentum: float = 0.5,
        weight_steps: int = 10,
        weight_lr: float = 20.0,
        spread: float = 0.0003,
        inner_lr: float = 0.01,
        lr: float = 0.01,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(in_features, num_classes, hidden_features, layers, readout, lr, weight_decay)
        at_least(1, batch_size=batch_size, clusters=clusters, functions=functions, weight_steps=weight_steps)
        at_least(0, queue=queue)
        positive(weight_lr=weight_lr, inner_lr=inner_lr)
        not_negative(momentum=momentum, spread=spread)
        if momentum >= 1:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
        if clusters > hidden_features:
            raise ValueError(f"clusters must be at most hidden_features, {hidden_features}, got {clusters}")
        if not queue and 1 < clusters < hidden_features:
            raise ValueError(
                f"queue must be at least 1 for {clusters} clusters, got 0: they are found by how correlations change "
                "from batch to batch"
            )
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.clusters, self.momentum, self.inner_lr = clusters, momentum, inner_lr
        self.descent = (functions, weight_steps, weight_lr, spread)
        self.average = copy.deepcopy(self.encoder).requires_grad_(False)
        self.register_buffer("queue_z", torch.zeros(queue, batch_size, hidden_features))
        self.register_buffer("queue_w", torch.zeros(queue, batch_size))
        self.register_buffer("queue_there", torch.zeros(queue, batch_size, dtype=torch.bool))

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        optimizer: Any = self.optimizers()
        logits, labels = self(*self.inputs(batch)), batch[3]
        losses = F.cross_entropy(logits, labels, reduction="none")
        z = self.ahead(losses.mean(), batch)
        clusters = self.clusters_of(z)
        past = self.queue_there
        rows = torch.cat([self.queue_z[past], z])
        weights, value = learned_weights(rows, clusters, *self.descent, self.queue_w[past])
        loss = (weights * losses).mean()
        optimizer.zero_grad()
        self.manual_backward(loss)
        done = self.global_step / max(1, self.trainer.estimated_stepping_batches)
        for group in optimizer.param_groups:
            group["lr"] = self.lr * (1 + math.cos(math.pi * done)) / 2
        optimizer.step()
        self.keep(z, weights)
        self.log_scalars(
            "train",
            {
                "loss": loss,
                "accuracy": (logits.argmax(1) == labels).float().mean(),
                "penalty": value,
                "effective": weights.sum() ** 2 / (len(weights) * weights.square().sum()),
                "clusters": clusters.unique().numel() * torch.ones_like(loss),
            },
            len(labels),
        )
        return loss.detach()

    def ahead(self, loss: Tensor, batch: tuple[Tensor, ...]) -> Tensor:
        """The embedding by the copy, after it took over its share of the parameters as they are a step ahead."""
        named = dict(self.encoder.named_parameters())
        slopes = torch.autograd.grad(loss, list(named.values()), retain_graph=True)
        with torch.no_grad():
            for mean, own, slope in zip(self.average.parameters(), named.values(), slopes, strict=True):
                mean.lerp_(own - self.inner_lr * slope, 1 - self.momentum)
            z: Tensor = functional_call(self.encoder, dict(self.average.named_parameters()), self.inputs(batch))
        return z

    def clusters_of(self, z: Tensor) -> Tensor:
        """The number of the cluster of each variable; all the same before there are two batches to compare."""
        if self.clusters == z.shape[1]:
            return torch.arange(z.shape[1], device=z.device)
        size, kept = len(z), self.queue_z.shape[1]
        own = F.pad(z[:kept], (0, 0, 0, max(0, kept - size)))[None]
        there = torch.arange(kept, device=z.device)[None] < size
        groups, rows = torch.cat([self.queue_z, own]), torch.cat([self.queue_there, there])
        return clustered(dissimilarity(groups, rows), self.clusters)

    def keep(self, z: Tensor, weights: Tensor) -> None:
        """Puts a batch into the queue, in place of the oldest."""
        if not len(self.queue_z):
            return
        for held in (self.queue_z, self.queue_w, self.queue_there):
            held.copy_(held.roll(1, 0))
        count = min(len(z), self.queue_w.shape[1])
        self.queue_there[0] = torch.arange(self.queue_w.shape[1], device=z.device) < count
        self.queue_z[0, :count], self.queue_w[0, :count] = z[:count], weights[:count]

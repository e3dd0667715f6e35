"""HyperSAGNN: whether nodes form a hyperedge, by what each of them is beside the others and by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import at_least, not_negative, one_of, positive
from zoo.graph._cooccurrence import CooccurrenceEncoder
from zoo.graph._hyperedges import HyperedgeModel, check_hyperedges, mean_over
from zoo.graph._walks import Walker, skip_gram

FEATURES = ("encoder", "walks")


class OthersAttention(nn.Module):
    """Of each node i what the others are to it, a linear map of all heads' sums.

        sum over j other than i of alpha_ij v_j,   alpha_ij = softmax over j of q_i . k_j / sqrt(head_features)

    q, k and v are linear maps of x, each after a LayerNorm of its own. Without others it is 0.
    """

    def __init__(self, features: int, heads: int, head_features: int) -> None:
        super().__init__()
        self.heads = (heads, head_features)
        self.norms = nn.ModuleList(nn.LayerNorm(features) for _ in range(3))
        self.maps = nn.ModuleList(nn.Linear(features, heads * head_features, bias=False) for _ in range(3))
        self.out = nn.Linear(heads * head_features, features, bias=False)
        for linear in self.maps:
            nn.init.normal_(linear.get_parameter("weight"), std=(2 / (features + head_features)) ** 0.5)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Of x (N, k, features), and of which nodes there are, (N, k)."""
        q, k, v = (
            linear(norm(x)).unflatten(-1, self.heads).transpose(1, 2)
            for norm, linear in zip(self.norms, self.maps, strict=True)
        )
        oneself = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=present[:, None, None, :] & ~oneself)
        return self.out(found.transpose(1, 2).flatten(2))


def perceptron(features: int, dropout: float) -> nn.Sequential:
    """From `features` numbers to as many, by a hidden layer of that width."""
    return nn.Sequential(nn.Linear(features, features), nn.Tanh(), nn.Dropout(dropout), nn.Linear(features, features))


class HyperSAGNN(HyperedgeModel):
    """A self-attention network that says whether nodes x_1 … x_k form a hyperedge, and which of them does not belong.

        s_i = FFN_s(x_i)                         what the node is by itself
        d_i = FFN_d(sum over j != i of alpha_ij v_j)   what the others make of it
        p_i = sigmoid(w . (d_i - s_i)^2 + b),    p = mean of p_i

    The order of the nodes is nothing to it, and k may differ: d_i of a hyperedge with one node is that of no others.
    Both networks have a hidden layer with tanh, FFN_d adds what it is given; two LayerNorms follow on each.

    `features` says where x_i come from: `encoder`, an autoencoder of the nodes' co-occurrences, trained with the rest
    by a loss of weight `reconstruction` (`zoo.graph._cooccurrence`); or `walks`, skip-gram embeddings of random walks
    on the training hyperedges, from which training goes on (`zoo.graph._walks`: `walks` of `length` nodes from each
    node, biased by `p` and `q`; near is what is within a `window`; `passes` over all, `walk_batch` a step). Adam trains
    the former, RMSprop the latter. Shapes, batches and errors are those of
    `zoo.graph._hyperedges.HyperedgeModel`; raises ValueError, too, for a size below 1, other features, dropout outside
    [0, 1), a p, q or rate that is not positive, a walk of fewer than two nodes, a negative reconstruction.

    Source: R. Zhang, Y. Zou and J. Ma, "Hyper-SAGNN: a self-attention based graph neural network for hypergraphs",
    ICLR 2020, arXiv:1911.02613; sizes and rates are those of the authors' PyTorch code. Deliberate differences: the
    released code has a static branch in its attention and a norm of one number, both without effect, that are left out;
    where sizes differ it attends to what is none, too, as a mask goes to another argument; here dropout of
    co-occurrences is the same for all hyperedges of a step; skip-gram takes large steps of Adam with noise that
    pairs share, and three passes in place of one; and the epoch is selected on validation hyperedges.
    """

    tiny: ClassVar[dict[str, Any]] = {
        "width": 8,
        "heads": 2,
        "head_features": 4,
        "walks": 1,
        "length": 3,
        "window": 2,
        "passes": 1,
        "walk_batch": 8192,
    }

    def __init__(
        self,
        nodes: Sequence[int],
        hyperedges: int,
        max_size: int = 3,
        features: str = "encoder",
        width: int = 64,
        heads: int = 8,
        head_features: int = 16,
        attention_dropout: float = 0.3,
        dropout: float = 0.4,
        input_dropout: float = 0.25,
        reconstruction: float = 0.01,
        walks: int = 10,
        length: int = 40,
        window: int = 10,
        p: float = 2.0,
        q: float = 0.25,
        passes: int = 3,
        walk_batch: int = 32,
        positive_weight: float = 5.0,
        lr: float = 1e-3,
    ) -> None:
        super().__init__(nodes, hyperedges, max_size, positive_weight, lr)
        one_of(FEATURES, features=features)
        at_least(1, width=width, heads=heads, head_features=head_features)
        at_least(1, walks=walks, window=window, passes=passes, walk_batch=walk_batch)
        at_least(2, length=length)
        positive(p=p, q=q)
        rates = {"attention_dropout": attention_dropout, "dropout": dropout, "input_dropout": input_dropout}
        not_negative(reconstruction=reconstruction, **rates)
        for name, rate in rates.items():
            if not rate < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {rate}")
        self.save_hyperparameters()
        self.features, self.reconstruction = features, reconstruction
        self.walks, self.length, self.p, self.q = walks, length, p, q
        self.skip_gram = {"window": window, "passes": passes, "batch": walk_batch}
        if features == "encoder":
            self.encoder = CooccurrenceEncoder(nodes, hyperedges * max_size * (max_size - 1), width, input_dropout)
        else:
            self.embedding = nn.Parameter(torch.randn(sum(nodes), width))
        self.attention = OthersAttention(width, heads, head_features)
        self.attention_dropout = nn.Dropout(attention_dropout)
        self.of_others, self.of_itself = perceptron(width, dropout), perceptron(width, dropout)
        self.norms = nn.ModuleList(nn.Sequential(nn.LayerNorm(width), nn.LayerNorm(width)) for _ in range(2))
        self.score = nn.Linear(width, 1)

    @torch.no_grad()
    def take(self, hyperedges: Tensor) -> None:
        if self.features == "encoder":
            self.encoder.take(hyperedges)
            return
        total, width = self.embedding.shape
        draw = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        starts = torch.arange(total, device=hyperedges.device).repeat(self.walks)
        walked = Walker(hyperedges, total, self.p, self.q).walks(starts, self.length, draw)
        self.embedding.copy_(skip_gram(walked, total, width, draw, **self.skip_gram))

    def dynamic_and_static(self, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """d and s, (N, k, width) each, of x (N, k, width) and of which nodes there are, (N, k)."""
        others = self.attention_dropout(self.attention(x, present))
        of_others, of_itself = self.norms
        return of_others(self.of_others(others) + others), of_itself(self.of_itself(x))

    def node_probabilities(self, hyperedges: Tensor, nodes: Tensor | None = None) -> Tensor:
        """p_i, (N, k), and anything where there is no node; `nodes` are the embeddings (total, width), if known."""
        if nodes is None:
            nodes = self.encoder.normed(self.encoder.hidden()[0]) if self.features == "encoder" else self.embedding
        d, s = self.dynamic_and_static(F.embedding(hyperedges.clamp(min=0), nodes), hyperedges >= 0)
        return self.score((d - s).square())[..., 0].sigmoid()

    def forward(self, hyperedges: Tensor) -> Tensor:
        return mean_over(self.node_probabilities(hyperedges), hyperedges)

    def outsider(self, hyperedges: Tensor) -> Tensor:
        """The place of the node that belongs least, the smallest p_i, (N,); raises ValueError as `predict` does."""
        check_hyperedges(hyperedges, self.nodes)
        return self.node_probabilities(hyperedges).masked_fill(hyperedges < 0, torch.inf).argmin(1)

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        if self.features != "encoder":
            return super().step(batch)
        hyperedges, labels = batch
        h, weight = self.encoder.hidden()
        p = mean_over(self.node_probabilities(hyperedges, self.encoder.normed(h)), hyperedges)
        scalars = self.scalars(p, labels)
        error = self.encoder.error(h, weight, hyperedges)
        return scalars | {"loss": scalars["loss"] + self.reconstruction * error, "reconstruction": error}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        kind = torch.optim.Adam if self.features == "encoder" else torch.optim.RMSprop
        return kind(self.parameters(), lr=self.lr)

"""LinearGNN: a graph network without nonlinearities, whose training can be followed in closed form."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo._checks import one_of
from zoo.graph._nodes import NodeRegression, as_one, mapping

SCALES = ("last", "all")


class LinearGNN(NodeRegression):
    """A graph network of linear layers, read at its last layer or, with skip connections, at all scales.

        X_(l) = B_l X_(l-1) S,   l = 1 … H = depth,   X_(0) = X, the features of a node in each column
        f = W X_(H)  (scales "last")   or   f = sum_{l=0}^{H} W_l X_(l)  ("all")

    S is D^(-1/2) (A + I) D^(-1/2) (operator "gcn", D the degrees of A + I) or A + I ("gin"). Layers have `width` rows.
    It starts at W = 0 and entries of B from N(0, 1 / number of columns), so that the first loss is the number of nodes.

    Along the gradient flow of the squared loss L over the nodes I, of columns h = (X_(H))_{*I} or all scales stacked,

        L_T <= L_0 exp(-4 int_0^T sigma_min^2(h_t) dt)

    since -dL/dt >= ||dL/dW||^2 = 4 ||(f - Y) h^T||^2. Stacked scales have a Gram matrix that is the sum of those of
    each, so that with skip connections the rate is at least the sum of those of all scales.

    f is linear in X, so that weights are multiplied before features are: f = sum_l (W_l B_l … B_1) X S^l takes
    O(n m num_classes) operations. Each step of training is on the same batch, of which X S^l at the training nodes is
    kept. Shapes, the loss and the errors are those of `zoo.graph._nodes.NodeRegression`; ValueError for other scales.

    Source: K. Xu, M. Zhang, S. Jegelka and K. Kawaguchi, "Optimization of graph neural networks: implicit acceleration
    by skip connections and more depth", ICML 2021, arXiv:2105.04550. The rate along training is derived here; the
    paper's theorems bound it by that of X S^H.
    """

    one_batch = True
    tiny: ClassVar[dict[str, Any]] = {"width": 4, "lr": 1e-6}

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        depth: int = 2,
        width: int = 160,
        operator: str = "gcn",
        scales: str = "last",
        lr: float = 0.005,
    ) -> None:
        super().__init__(in_features, num_classes, depth, width, operator, lr)
        one_of(SCALES, scales=scales)
        self.save_hyperparameters()
        sizes = [in_features, *depth * [width]]
        self.layers = nn.ModuleList(mapping(a, b, 1.0) for a, b in pairwise(sizes))
        self.first = 0 if scales == "all" else depth  # the scale of the first readout
        self.readouts = nn.ModuleList(mapping(size, num_classes, 0.0) for size in sizes[self.first :])
        self._kept: tuple[Tensor, Tensor] | None = None  # columns and labels of the training nodes, while it is fitted

    def scores(self, x: Tensor, edges: Tensor) -> Tensor:
        maps = self._maps()
        f = x @ maps[-1].T
        for number in reversed(range(len(self.layers))):  # Horner's scheme in powers of S
            f = self.propagate(f, edges)
            if number >= self.first:
                f = f + x @ maps[number - self.first].T
        return f

    def on_fit_start(self) -> None:
        self._kept = None

    def on_fit_end(self) -> None:
        self._kept = None

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        x, edges, labels, mask = batch
        if self._kept is None:
            self._kept = self.columns(x, edges, mask), labels[mask][None]
        columns, own = self._kept
        scalars = self.scalars(self.at(columns)[None], own, torch.ones_like(own, dtype=torch.bool))
        scalars["loss"] = scalars["loss"] / len(x)
        self.log_scalars("train", scalars, len(x))
        return scalars["loss"]

    def columns(self, x: Tensor, edges: Tensor, mask: Tensor) -> Tensor:
        """(X S^l)^T at the masked nodes of all graphs, for l = 0 … depth: (depth + 1, k, in_features)."""
        power, together = as_one(x, edges)
        found = [power]
        for _ in self.layers:
            found.append(self.propagate(found[-1], together))
        return torch.stack([own[mask.flatten()] for own in found])

    def at(self, columns: Tensor) -> Tensor:
        """The scores (k, num_classes) of nodes from their columns."""
        maps = torch.stack(self._maps())
        return torch.einsum("lkm,lcm->kc", columns[self.first :], maps)

    def _maps(self) -> list[Tensor]:
        """W_l B_l … B_1 for the scales that are read, (num_classes, in_features) each."""
        maps = []
        for scale, readout in enumerate(self.readouts, self.first):
            product: Tensor = readout.get_parameter("weight")
            for layer in reversed(self.layers[:scale]):
                product = product @ layer.get_parameter("weight")
            maps.append(product)
        return maps

    def hidden(self, columns: Tensor) -> Tensor:
        """h (k, …): what the readouts see at k nodes, stacked, from (X S^l)^T at these for l = 0 … H, (H + 1, k, m)."""
        seen = []
        for scale in range(self.first, len(columns)):
            h = columns[scale]
            for layer in self.layers[:scale]:
                h = layer(h)
            seen.append(h)
        return torch.cat(seen, 1)

"""SkipGNN: a graph network with rectified units, with or without skip connections to its output."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

from torch import Tensor, nn

from zoo.graph._nodes import NodeRegression, mapping


class SkipGNN(NodeRegression):
    """A graph network with rectified units whose output reads its last layer or, with skip connections, every one.

        X_(l) = relu(B_l X_(l-1) S),   l = 1 … H = depth,   X_(0) = X, the features of a node in each column
        f = W X_(H)   or, with `skip`,   f = sum_{l=0}^{H} W_l X_(l)

    S is D^(-1/2) (A + I) D^(-1/2) (operator "gcn", D the degrees of A + I) or A + I ("gin"). Layers have `width` units.
    It starts at W = 0, so that with and without skip connections the first loss is the number of nodes, and entries of
    B from N(0, 2 / number of columns).

    Shapes, the loss and the errors are those of `zoo.graph._nodes.NodeRegression`.

    Source: K. Xu, M. Zhang, S. Jegelka and K. Kawaguchi, "Optimization of graph neural networks: implicit acceleration
    by skip connections and more depth", ICML 2021, arXiv:2105.04550; T. N. Kipf and M. Welling, "Semi-supervised
    classification with graph convolutional networks", ICLR 2017; K. Xu, W. Hu, J. Leskovec and S. Jegelka, "How
    powerful are graph neural networks?", ICLR 2019. Deliberate differences: one matrix a layer of "gin" in place of a
    network with a hidden layer and batch normalisation; the start, in which all depths have one loss.
    """

    tiny: ClassVar[dict[str, Any]] = {"width": 4, "lr": 1e-6}

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        depth: int = 2,
        width: int = 64,
        operator: str = "gcn",
        skip: bool = True,
        lr: float = 0.02,
    ) -> None:
        super().__init__(in_features, num_classes, depth, width, operator, lr)
        self.save_hyperparameters()
        sizes = [in_features, *depth * [width]]
        self.layers = nn.ModuleList(mapping(a, b, 2.0) for a, b in pairwise(sizes))
        self.first = 0 if skip else depth  # the layer of the first readout
        self.readouts = nn.ModuleList(mapping(size, num_classes, 0.0) for size in sizes[self.first :])

    def scores(self, x: Tensor, edges: Tensor) -> Tensor:
        read = [x]
        for layer in self.layers:
            read.append(self.propagate(layer(read[-1]), edges).relu())
        total: Tensor = sum(readout(h) for readout, h in zip(self.readouts, read[self.first :], strict=True))
        return total

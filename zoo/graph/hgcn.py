"""HGCN: graph convolutions in a hyperbolic space whose curvature may change from layer to layer."""

from __future__ import annotations

from zoo._checks import one_of
from zoo.graph._curved import CurvedNetwork, Parts


class HGCN(CurvedNetwork):
    """A graph convolution in tangent spaces, of the Poincare ball or the hyperboloid, with a curvature for each layer.

        y_i = exp_0(W log_0 x_i) + b,   x_i <- exp_0'(relu(log_0 exp_o(sum_j w_ij log_o y_j)))

    The sum is in the tangent space at the origin (`aggregation` origin) or at y_i (node); b moves a point along a
    vector that is transported from the origin; exp_0' is that of the next layer's curvature. Weights are those of a
    mean or, with `attention`, softmax_j of LeakyReLU(a . [log_0 y_i, log_0 y_j]). Tasks, shapes, other arguments and
    errors are those of `zoo.graph._curved.CurvedNetwork`; ValueError, too, for other spaces and aggregations.

    Source: I. Chami, R. Ying, C. Re and J. Leskovec, "Hyperbolic graph convolutional neural networks", NeurIPS 2019,
    arXiv:1910.12933, and the authors' code. Deliberate differences: no activation after the last layer; log-odds need
    no bound on distances; curvatures are learned by way of softplus, so that their sign cannot change.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int | None = None,
        width: int = 16,
        embedding: int | None = None,
        layers: int = 2,
        space: str = "ball",
        aggregation: str = "origin",
        attention: bool = False,
        curvature: float = -1.0,
        learn_curvature: bool = False,
        dropout: float = 0.0,
        radius: float = 2.0,
        temperature: float = 1.0,
        double: bool = False,
        lr: float = 1e-2,
        weight_decay: float = 0.0,
    ) -> None:
        one_of(("ball", "hyperboloid"), space=space)
        one_of(("origin", "node"), aggregation=aggregation)
        parts = Parts(space, weights="tangents" if attention else "mean", aggregation=aggregation)
        sizes = (in_features, width, embedding, layers, num_classes)
        super().__init__(
            parts, sizes, curvature, learn_curvature, dropout, radius, temperature, double, lr, weight_decay
        )
        self.save_hyperparameters()

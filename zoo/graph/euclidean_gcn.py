"""EuclideanGCN: the graph convolution that the hyperbolic ones tend to."""

from __future__ import annotations

from zoo.graph._curved import CurvedNetwork, Parts


class EuclideanGCN(CurvedNetwork):
    """A graph convolution of means in the plane: what networks on curved spaces tend to as the curvature goes to 0.

        y_i = W x_i + b,   x_i <- relu(sum_j w_ij y_j),   w_ij = 1 / (degree_i + 1)

    It has their shape, dimension and decoders. Tasks, shapes, other arguments and errors are those of
    `zoo.graph._curved.CurvedNetwork`. As the metric of a ball is 4 |dx|^2 at the origin, a ball's log-odds of links
    tend to those of this model with a quarter of `radius` and of `temperature`.

    Source: T. N. Kipf and M. Welling, "Semi-supervised classification with graph convolutional networks", ICLR 2017,
    arXiv:1609.02907. Deliberate differences: rows of weights sum to 1; a linear decoder after the last layer.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int | None = None,
        width: int = 16,
        embedding: int | None = None,
        layers: int = 2,
        dropout: float = 0.0,
        radius: float = 2.0,
        temperature: float = 1.0,
        double: bool = False,
        lr: float = 1e-2,
        weight_decay: float = 0.0,
    ) -> None:
        parts = Parts("flat")
        sizes = (in_features, width, embedding, layers, num_classes)
        super().__init__(parts, sizes, 0.0, False, dropout, radius, temperature, double, lr, weight_decay)
        self.save_hyperparameters()

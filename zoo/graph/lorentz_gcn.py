"""LorentzGCN: graph convolutions on the hyperboloid, without its tangent spaces."""

from __future__ import annotations

from typing import Any, ClassVar

from zoo.graph._curved import CurvedNetwork, Parts


class LorentzGCN(CurvedNetwork):
    """A graph network on the hyperboloid by Lorentz centroids, whose parts act on points and not on tangent vectors.

        y_i = (x_0, W x_i + b),   c_i = sum_j w_ij y_j / (sqrt(c) | |sum_j w_ij y_j|_L |),   x_i <- (x_0, relu(c_i))

    x_0 = sqrt(1/c + |x|^2) of the other coordinates in each, and w_i = softmax_j of -|y_i - y_j|_L^2. Tasks, shapes,
    other arguments and errors are those of `zoo.graph._curved.CurvedNetwork`.

    Source: Y. Zhang, X. Wang, C. Shi, N. Liu and G. Song, "Lorentzian graph convolutional networks", WWW 2021,
    arXiv:2104.07477. Deliberate differences: the bias is added to coordinates; a linear decoder of log_0 x.
    """

    tiny: ClassVar[dict[str, Any]] = {"width": 4}

    def __init__(
        self,
        in_features: int,
        num_classes: int | None = None,
        width: int = 16,
        embedding: int | None = None,
        layers: int = 2,
        curvature: float = -1.0,
        learn_curvature: bool = False,
        dropout: float = 0.0,
        radius: float = 2.0,
        temperature: float = 1.0,
        double: bool = False,
        lr: float = 1e-2,
        weight_decay: float = 0.0,
    ) -> None:
        parts = Parts("hyperboloid", "coordinates", "chord", "midpoint", "coordinates")
        sizes = (in_features, width, embedding, layers, num_classes)
        super().__init__(
            parts, sizes, curvature, learn_curvature, dropout, radius, temperature, double, lr, weight_decay
        )
        self.save_hyperparameters()

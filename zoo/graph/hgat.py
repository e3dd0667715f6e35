"""HGAT: graph attention by distances in the Poincare ball."""

from __future__ import annotations

from typing import Any, ClassVar

from zoo.graph._curved import CurvedNetwork, Parts


class HGAT(CurvedNetwork):
    """A graph attention network in the Poincare ball: what is near is heard most.

        y_i = W (x) x_i + b,   x_i <- exp_0(relu(sum_j w_ij log_0 y_j)),   w_i = softmax_j of -d(y_i, y_j)

    W (x) x = exp_0(W log_0 x) is the product of Moebius. Tasks, shapes, other arguments and errors are those of
    `zoo.graph._curved.CurvedNetwork`.

    Source: Y. Zhang, X. Wang, C. Shi, X. Jiang and Y. Ye, "Hyperbolic graph attention network", IEEE Transactions on
    Big Data 8, 2022, arXiv:1912.03046. Deliberate differences: one head; sums in the tangent space at the origin, which
    the authors use to compute sums of Moebius in parallel; no activation after the last layer.
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
        parts = Parts("ball", weights="distance")
        sizes = (in_features, width, embedding, layers, num_classes)
        super().__init__(
            parts, sizes, curvature, learn_curvature, dropout, radius, temperature, double, lr, weight_decay
        )
        self.save_hyperparameters()

"""HGNN: messages between tangent vectors at the origin of the Poincare ball."""

from __future__ import annotations

from typing import Any, ClassVar

from zoo.graph._curved import CurvedNetwork, Parts


class HGNN(CurvedNetwork):
    """A graph network whose messages are tangent vectors at the origin, and whose activation acts on points of a ball.

        x_i <- relu(exp_0(sum_j w_ij W log_0 x_j)),   w_ij = 1 / (degree_i + 1)

    relu is that of the ball's coordinates. On the hyperboloid the authors take it by way of the ball, too, so it is
    the same model there. Tasks, shapes, other arguments and errors are those of `zoo.graph._curved.CurvedNetwork`.

    Source: Q. Liu, M. Nickel and D. Kiela, "Hyperbolic graph neural networks", NeurIPS 2019, arXiv:1910.12892.
    Deliberate differences: a linear decoder of log_0 x in place of distances to centroids; rows of weights sum to 1.
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
        parts = Parts("ball", activation="coordinates", bias=False)
        sizes = (in_features, width, embedding, layers, num_classes)
        super().__init__(
            parts, sizes, curvature, learn_curvature, dropout, radius, temperature, double, lr, weight_decay
        )
        self.save_hyperparameters()

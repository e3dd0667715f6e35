"""HGNN: messages between tangent vectors at the origin of the Poincare ball."""

from __future__ import annotations

from zoo.graph._curved import AlikeNetwork, Parts


class HGNN(AlikeNetwork):
    """A graph network whose messages are tangent vectors at the origin, and whose activation acts on points of a ball.

        x_i <- relu(exp_0(sum_j w_ij W log_0 x_j)),   w_ij = 1 / (degree_i + 1)

    relu is that of the ball's coordinates. On the hyperboloid the authors take it by way of the ball, too, so it is
    the same model there. Tasks, shapes, other arguments and errors are those of `zoo.graph._curved.CurvedNetwork`.

    Source: Q. Liu, M. Nickel and D. Kiela, "Hyperbolic graph neural networks", NeurIPS 2019, arXiv:1910.12892.
    Deliberate differences: a linear decoder of log_0 x in place of distances to centroids; rows of weights sum to 1.
    """

    parts = Parts("ball", activation="coordinates", bias=False)

"""HGAT: graph attention by distances in the Poincare ball."""

from __future__ import annotations

from zoo.graph._curved import AlikeNetwork, Parts


class HGAT(AlikeNetwork):
    """A graph attention network in the Poincare ball: what is near is heard most.

        y_i = W (x) x_i + b,   x_i <- exp_0(relu(sum_j w_ij log_0 y_j)),   w_i = softmax_j of -d(y_i, y_j)

    W (x) x = exp_0(W log_0 x) is the product of Moebius. Tasks, shapes, other arguments and errors are those of
    `zoo.graph._curved.CurvedNetwork`.

    Source: Y. Zhang, X. Wang, C. Shi, X. Jiang and Y. Ye, "Hyperbolic graph attention network", IEEE Transactions on
    Big Data 8, 2022, arXiv:1912.03046. Deliberate differences: one head; sums in the tangent space at the origin, which
    the authors use to compute sums of Moebius in parallel; no activation after the last layer.
    """

    parts = Parts("ball", weights="distance")

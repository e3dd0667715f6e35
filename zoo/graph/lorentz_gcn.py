"""LorentzGCN: graph convolutions on the hyperboloid, without its tangent spaces."""

from __future__ import annotations

from zoo.graph._curved import AlikeNetwork, Parts


class LorentzGCN(AlikeNetwork):
    """A graph network on the hyperboloid by Lorentz centroids, whose parts act on points and not on tangent vectors.

        y_i = (x_0, W x_i + b),   c_i = sum_j w_ij y_j / (sqrt(c) | |sum_j w_ij y_j|_L |),   x_i <- (x_0, relu(c_i))

    x_0 = sqrt(1/c + |x|^2) of the other coordinates in each, and w_i = softmax_j of -|y_i - y_j|_L^2. Tasks, shapes,
    other arguments and errors are those of `zoo.graph._curved.CurvedNetwork`.

    Source: Y. Zhang, X. Wang, C. Shi, N. Liu and G. Song, "Lorentzian graph convolutional networks", WWW 2021,
    arXiv:2104.07477. Deliberate differences: the bias is added to coordinates; a linear decoder of log_0 x.
    """

    parts = Parts("hyperboloid", "coordinates", "chord", "midpoint", "coordinates")

"""KappaGCN: graph convolutions in the stereographic model of any constant curvature."""

from __future__ import annotations

from zoo.graph._curved import AlikeNetwork, Parts


class KappaGCN(AlikeNetwork):
    """A graph convolution by gyromidpoints, in a hyperbolic space, the plane or a sphere, as the sign of kappa says.

        y_i = W (x) x_i + b,   m_i = 1/2 (x) [sum_j w_ij lambda_j y_j / sum_j w_ij (lambda_j - 1)],
        x_i <- exp_0(relu(log_0 m_i)),   w_ij = 1 / (degree_i + 1)

    (x) are products of Moebius. With `learn_curvature` kappa may change its sign. On a sphere, points beyond the
    equator have lambda < 1: there means are trusted only while their denominator is positive. Tasks, shapes, other
    arguments and errors are those of `zoo.graph._curved.CurvedNetwork`.

    Source: G. Bachmann, G. Becigneul and O. Ganea, "Constant curvature graph convolutional networks", ICML 2020,
    arXiv:1911.05076. Deliberate differences: rows of weights sum to 1; a linear decoder of log_0 x in place of
    distances to hyperplanes; a bias.
    """

    parts = Parts("stereographic", aggregation="midpoint")

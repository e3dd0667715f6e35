"""GraphVectorField: how fast the nodes of a network change, learned from states and their rates."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

from torch import Tensor, nn

from zoo._checks import at_least
from zoo.graph._fields import NetworkField
from zoo.graph._neighbours import neighbour_sum


class _Perceptron(nn.Sequential):
    """Fully connected layers of the sizes given, with tanh between them."""

    def __init__(self, *sizes: int) -> None:
        layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.Tanh())]
        super().__init__(*layers[:-1])


class GraphVectorField(NetworkField):
    """The rate of change of each node, of its own state and of those that act on it.

        F_j(x) = psi(x_j) + c . [phi_2(x_j) * sum_i A_ij phi_1(x_i)] + b

    * is the product component by component. That is sum_i A_ij q(x_i, x_j) for the function q = c . [phi_1 * phi_2] of
    pairs, without a tensor over pairs: it takes O(E) operations in a graph of E edges. psi is a network with two hidden
    layers of `width` tanh units, phi_1 and phi_2 have one. The bias b comes once a node, however many act on it.

    Other arguments, shapes, the loss and the errors are those of `zoo.graph._fields.NetworkField`.

    Source: V. Vasiliauskaite and N. Antulov-Fantulin, "Generalization of neural network models for complex network
    dynamics", Communications Physics 7, 2024, arXiv:2301.04900, and the authors' code, which has the tensor over pairs.
    Deliberate differences: learning rates that fall by a cosine, in place of when the validation error stalls.
    """

    vectorizes = True
    tiny: ClassVar[dict[str, Any]] = {"width": 4}

    def __init__(self, width: int = 30, variance: float = 1.0, lr: float = 1e-2, weight_decay: float = 1e-3) -> None:
        super().__init__(variance, lr, weight_decay)
        at_least(1, width=width)
        self.save_hyperparameters()
        self.alone = _Perceptron(1, width, width, 1)
        self.acting, self.acted_on = _Perceptron(1, width, width), _Perceptron(1, width, width)
        self.readout = nn.Linear(width, 1)

    def field(self, x: Tensor, edges: Tensor) -> Tensor:
        x = x[..., None]
        neighbours = self.readout(self.acted_on(x) * neighbour_sum(self.acting(x), edges))
        out: Tensor = (self.alone(x) + neighbours)[..., 0]
        return out

"""GraphConvolutionField: the rates of change of a network's nodes by the graph convolutions of a library."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo._checks import at_least, one_of
from zoo.graph._fields import NetworkField

CONVOLUTIONS = ("sage", "graph", "gated", "attention", "chebyshev", "gcn")


class GraphConvolutionField(NetworkField):
    """The rate of change of each node by graph convolutions, `depth` of a `width`, each followed by tanh.

    A linear map gives the rate. The convolution is one of torch_geometric, the extra `[graph]`: `sage` (SAGEConv, the
    mean over the neighbours), `graph` (GraphConv, their sum), `gated` (ResGatedGraphConv), `attention` (GATConv),
    `chebyshev` (ChebConv with polynomials of degree below 10) or `gcn` (GCNConv). The mean does not even tell how many
    neighbours there are; the gated and the attention one multiply functions of both ends of an edge.

    Other arguments, shapes, the loss and the errors are those of `zoo.graph._fields.NetworkField`; another convolution
    is refused by a ValueError, too.

    Source: the baselines of V. Vasiliauskaite and N. Antulov-Fantulin, "Generalization of neural network models for
    complex network dynamics", Communications Physics 7, 2024, arXiv:2301.04900, after the authors' code.
    """

    tiny: ClassVar[dict[str, Any]] = {"width": 4}
    exceptions: ClassVar[dict[str, str]] = {"meta": "the library looks for loops among the edges"}

    def __init__(
        self,
        convolution: str = "sage",
        depth: int = 1,
        width: int = 30,
        variance: float = 1.0,
        lr: float = 1e-2,
        weight_decay: float = 1e-3,
    ) -> None:
        super().__init__(variance, lr, weight_decay)
        one_of(CONVOLUTIONS, convolution=convolution)
        at_least(1, depth=depth, width=width)
        self.save_hyperparameters()
        sizes = [1] + [width] * (depth - 1)
        self.convolutions = nn.ModuleList([_convolution(convolution, size, width) for size in sizes])
        self.readout = nn.Linear(width, 1)

    def field(self, x: Tensor, edges: Tensor) -> Tensor:
        nodes, samples = x.shape  # the library's layers take one graph, so that of all samples side by side
        first = nodes * torch.arange(samples, device=x.device)
        side_by_side = (edges[:, None] + first[:, None]).flatten(1)
        h = x.T.reshape(-1, 1)
        for convolution in self.convolutions:
            h = convolution(h, side_by_side).tanh()
        out: Tensor = self.readout(h).view(samples, nodes).T
        return out


def _convolution(name: str, in_features: int, out_features: int) -> nn.Module:
    try:
        from torch_geometric import nn as layers
    except ImportError as error:
        raise ImportError("GraphConvolutionField needs torch_geometric: pip install 'paperzoo[graph]'") from error
    kinds: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
        "sage": (layers.SAGEConv, {}),
        "graph": (layers.GraphConv, {}),
        "gated": (layers.ResGatedGraphConv, {"act": nn.Sigmoid()}),  # its default is one for all layers of the process
        "attention": (layers.GATConv, {}),
        "chebyshev": (layers.ChebConv, {"K": 10}),
        "gcn": (layers.GCNConv, {}),
    }
    kind, settings = kinds[name]
    return kind(in_features, out_features, **settings)

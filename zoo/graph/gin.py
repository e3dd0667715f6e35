"""GIN: a graph network that tells graphs apart as well as the Weisfeiler-Leman test."""

from __future__ import annotations

from typing import Any, ClassVar

from zoo.graph._schedule import cosine
from zoo.graph._whole_graphs import GraphClassifier


class GIN(GraphClassifier):
    """Sums over neighbours, which a network can make one-to-one on multisets of them.

        h_i <- relu(MLP(h_i + sum_j A_ij h_j)),   z = mean or sum over nodes of h_i,   logits = W z + b

    `layers` times, each MLP of one hidden layer. Shapes: x is (B, n, in_features), edges (B, 2, E) with -1 behind the
    last of a graph, mask (B, n), the logits are (B, num_classes). The readout `sum` grows with the graph, `mean` does
    not and sees shares of nodes in place of counts.

    Trained by Adam on the cross-entropy, at a rate that falls by a cosine to 0 at the end. Raises ValueError for a size
    below 1, another readout, an lr that is not positive and a negative weight decay.

    Source: K. Xu, W. Hu, J. Leskovec and S. Jegelka, "How powerful are graph neural networks?", ICLR 2019,
    arXiv:1810.00826, of which this is GIN-0. Deliberate differences: no batch normalisation, no dropout, and the last
    layer alone is read out.
    """

    vectorizes = True
    tiny: ClassVar[dict[str, Any]] = {"hidden_features": 4, "layers": 2}

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        hidden_features: int = 16,
        layers: int = 3,
        readout: str = "mean",
        lr: float = 0.01,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(in_features, num_classes, hidden_features, layers, readout, lr, weight_decay)
        self.save_hyperparameters()

    def configure_optimizers(self) -> Any:
        adam = super().configure_optimizers()
        return cosine(self, adam)

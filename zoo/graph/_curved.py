"""What networks on curved spaces share: one framework of layers with exchangeable parts, and two tasks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import at_least, not_negative, number, positive
from zoo._module import ZooModule
from zoo.graph import _parts
from zoo.graph._neighbours import check_edges
from zoo.graph._spaces import space


@dataclass(frozen=True)
class Parts:
    """What a layer is made of, by the names in `zoo.graph._parts`."""

    space: str
    transform: str = "tangent"
    weights: str = "mean"
    aggregation: str = "origin"
    activation: str = "tangents"
    bias: bool = True


class Layer(nn.Module):
    """A transform, an aggregation and, except in the last layer, an activation that leads into the next one's space."""

    def __init__(self, parts: Parts, own: nn.Module, sizes: tuple[int, int], dropout: float) -> None:
        super().__init__()
        self.own = own
        self.transform = _parts.TRANSFORMS[parts.transform](*sizes, dropout, parts.bias)
        self.weights = _parts.WEIGHTS[parts.weights](sizes[1])
        self.aggregation, self.activation = parts.aggregation, parts.activation

    def forward(self, v: Tensor, links: _parts.Links, onto: Any | None) -> Tensor:
        """Points of the space `onto`, or the layer's own, of tangent vectors v (M, m) at the origin of its own."""
        x = self.transform(self.own, v)
        x = _parts.AGGREGATIONS[self.aggregation](self.own, x, links, self.weights(self.own, x, links))
        return x if onto is None else _parts.ACTIVATIONS[self.activation](self.own, onto, x)


class CurvedNetwork(ZooModule):
    """A graph network whose hidden states are points of a space of constant curvature.

        x^0 = exp_0(features),   y_i = transform(x^l_i),   x^{l+1}_i = activation(aggregation over j of w_ij and y_j)

    over `layers` layers of `width` features, the last of `embedding` ones (by default `width`, too); j goes over i and
    its neighbours. The last layer has no activation: relu would keep all embeddings in one orthant. With `num_classes`
    the output is that of a linear map of log_0 x^L: logits (N, n, num_classes) of every node. Without, it is the
    embedding x^L itself, (N, n, embedding) or on the hyperboloid (N, n, embedding + 1), and `link_logits` has the
    log-odds (radius - d^2) / temperature of pairs, after Fermi and Dirac.

    Inputs are features (N, n, in_features) and edges (N, 2, E) as (source, target), each edge in both directions; the N
    graphs may differ. `predict(x, edges)` raises ValueError where edges name no node, come twice or in one direction
    alone. A batch is
    (x, edges, labels (N, n), mask (N, n)) with classes: cross-entropy and accuracy at the nodes of the mask; else
    (x, edges, pairs (N, 2, P), linked (N, P)): binary cross-entropy, and `auc` over all pairs of a batch.

    `curvature` is kappa, that of every layer; with `learn_curvature` each layer learns its own. Dropout is that of
    weights. `double` computes in float64, which the distances of far points need. Raises ValueError for a curvature
    that the space does not have, sizes below 1, and rates, radii and temperatures out of their ranges.
    """

    tiny: ClassVar[dict[str, Any]] = {"width": 4}

    def __init__(
        self,
        parts: Parts,
        sizes: tuple[int, int, int | None, int, int | None],
        curvature: float = 0.0,
        learn_curvature: bool = False,
        dropout: float = 0.0,
        radius: float = 2.0,
        temperature: float = 1.0,
        double: bool = False,
        lr: float = 1e-2,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        in_features, width, embedding, layers, num_classes = sizes
        embedding = width if embedding is None else embedding
        at_least(1, in_features=in_features, width=width, embedding=embedding, layers=layers)
        if num_classes is not None:
            at_least(2, num_classes=num_classes)
        positive(radius=radius, temperature=temperature, lr=lr)
        not_negative(weight_decay=weight_decay)
        number(dropout=dropout)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
        self.radius, self.temperature, self.lr, self.weight_decay = radius, temperature, lr, weight_decay
        self.in_features, self.embedding = in_features, embedding
        widths = [in_features, *[width] * (layers - 1), embedding]
        self.layers = nn.ModuleList(
            Layer(parts, space(parts.space, curvature, learn_curvature), each, dropout) for each in pairwise(widths)
        )
        self.decoder = nn.Linear(embedding, num_classes) if num_classes else None
        if double:
            self.double()

    @property
    def space(self) -> Any:
        """The space of the embeddings."""
        return self.layers[-1].own

    def embed(self, x: Tensor, edges: Tensor) -> Tensor:
        """Points (N, n, …) of every node."""
        links = _parts.Links.of(edges, x.shape[1])
        v = x.flatten(0, 1).to(self.dtype)
        spaces: list[Any] = [layer.own for layer in self.layers]
        for layer, onto in zip(self.layers, [*spaces[1:], None], strict=True):
            points = layer(v, links, onto)
            v = points if onto is None else onto.log0(points)
        return points.view(*x.shape[:2], -1)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        points = self.embed(x, edges)
        return points if self.decoder is None else self.decoder(self.space.log0(points))

    def link_logits(self, points: Tensor, pairs: Tensor) -> Tensor:
        """The log-odds (N, P) that nodes of embeddings (N, n, …) are linked, for pairs (N, 2, P).

        Raises ValueError for points outside the space, pairs that name no node, and a model of classes.
        """
        if self.decoder is not None:
            raise ValueError("this model tells classes, not links: links are those of a model without num_classes")
        whole = not pairs.is_floating_point() and pairs.dtype != torch.bool
        of_pairs = pairs.ndim == 3 and pairs.shape[:2] == (len(points), 2) and whole
        own = points.ndim == 3 and self.space.coordinates(points).shape[-1] == self.embedding and points.numel() > 0
        if not own or not of_pairs:
            told = f"{tuple(points.shape)} and {tuple(pairs.shape)} of {pairs.dtype}"
            raise ValueError(
                f"expected points (N, n, …) of {self.embedding} coordinates and whole pairs (N, 2, P), got {told}"
            )
        if not bool(points.isfinite().all()):
            raise ValueError("expected finite points, got some that are not: take smaller rates, or double=True")
        if bool(((pairs < 0) | (pairs >= points.shape[1])).any()):
            raise ValueError(
                f"pairs name nodes from {int(pairs.min())} to {int(pairs.max())}, of 0 to {points.shape[1] - 1}"
            )
        self.space.check(points)
        return self._log_odds(points, pairs.long())

    def _log_odds(self, points: Tensor, pairs: Tensor) -> Tensor:
        ends = [points.gather(1, end[..., None].expand(-1, -1, points.shape[-1])) for end in pairs.unbind(1)]
        return _parts.fermi_dirac(self.space.distance(*ends).square(), self.radius, self.temperature)

    def inputs(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return batch[0], batch[1]

    def complete(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        if not {"x", "edges"} <= given.keys():
            return given
        x, edges = given["x"], given["edges"]
        if x.ndim != 3 or x.shape[2] != self.in_features or x.numel() == 0:
            raise ValueError(
                f"expected x of shape (N, n, {self.in_features}) of N graphs with nodes, got {tuple(x.shape)}"
            )
        edges = edges[None] if edges.ndim == 2 and len(x) == 1 else edges
        if edges.ndim != 3 or len(edges) != len(x):
            raise ValueError(f"expected edges of shape ({len(x)}, 2, E), got {tuple(edges.shape)}")
        for each in edges:
            check_edges(each, x.shape[1], undirected=True)
        return {"x": x, "edges": edges}

    def step(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        return self._link_step(batch) if self.decoder is None else self._node_step(batch)

    def _node_step(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        x, edges, labels, mask = batch
        logits = self(x, edges)
        share = mask.to(logits.dtype) / mask.sum().clamp(min=1)
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        right = logits.argmax(-1) == labels
        return {"loss": (loss * share.flatten()).sum(), "accuracy": (right * share).sum()}

    def _link_step(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        x, edges, pairs, linked = batch
        logits = self._log_odds(self(x, edges), pairs)
        loss = F.binary_cross_entropy_with_logits(logits, linked.to(logits.dtype))
        return {"loss": loss, "auc": _parts.area_under_curve(logits.detach().flatten(), linked.flatten())}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr, weight_decay=self.weight_decay)


class AlikeNetwork(CurvedNetwork):
    """Networks alike in all but their parts, which a subclass names."""

    parts: ClassVar[Parts]

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
        sizes = (in_features, width, embedding, layers, num_classes)
        bent = (curvature, learn_curvature)
        super().__init__(self.parts, sizes, *bent, dropout, radius, temperature, double, lr, weight_decay)
        self.save_hyperparameters()

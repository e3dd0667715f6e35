"""A field on a network: the product over pairs of nodes beside the tensor over all pairs, and its cost in edges."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.pairs import Pair, Place, Side, Work

NODES, DEGREE, SAMPLES = 1600, 9.5, 2
GRADIENTS = 2  # that are timed


def setting(place: Place, degree: float) -> tuple[Any, Any, Any]:
    """A field, states of the nodes, and a graph of a mean degree."""
    import torch

    from datamodules.network_dynamics import random_graph
    from zoo.graph import GraphVectorField

    torch.manual_seed(0)
    edges = random_graph("erdos_renyi", NODES, degree, 0).to(place.device)
    return GraphVectorField().to(place.device), torch.rand(SAMPLES, NODES, device=place.device), edges


def over_pairs(model: Any, x: Any, adjacency: Any) -> Any:
    """F_j = psi(x_j) + sum_i A_ij q(x_i, x_j), by the tensor of all q: a sample at a time, for its memory."""
    own = x[:, None]
    q = model.acting(own)[:, None] * model.acted_on(own)[None]  # (i, j, width)
    total = (adjacency[..., None] * q).sum(0)
    return (model.alone(own) + model.readout(total))[:, 0]


def beside_pairs(place: Place) -> tuple[Side, Side]:
    """The model's gradient, and that of the tensor over pairs, on as many samples."""
    import torch

    model, x, edges = setting(place, DEGREE)
    adjacency = torch.zeros(NODES, NODES, device=place.device)
    adjacency[edges[0], edges[1]] = 1
    batch = edges.expand(SAMPLES, -1, -1)
    return (
        lambda: timed(model, lambda: model(x, batch).square().mean().backward()),
        lambda: timed(model, lambda: [over_pairs(model, one, adjacency).square().mean().backward() for one in x]),
    )


def in_edges(place: Place) -> tuple[Side, Side]:
    """The gradient on a graph of four times as many edges, and on the graph."""

    def side(degree: float) -> Side:
        model, x, edges = setting(place, degree)
        batch = edges.expand(SAMPLES, -1, -1)
        return lambda: timed(model, lambda: model(x, batch).square().mean().backward())

    return side(4 * DEGREE), side(DEGREE)


def timed(model: Any, work: Callable[[], Any]) -> Work:
    """Some gradients, until the device has finished them."""
    import torch

    def finish() -> None:
        if next(model.parameters()).is_cuda:
            torch.cuda.synchronize()

    finish()
    begun = time.perf_counter()
    for _ in range(GRADIENTS):
        model.zero_grad()
        work()
    finish()
    return Work(time.perf_counter() - begun, GRADIENTS, GRADIENTS * SAMPLES)


FIELD = f"GraphVectorField, {NODES:,} nodes of mean degree {DEGREE:g}, {SAMPLES} states, a gradient"

PAIRS = (
    Pair("graph/pairs", f"{FIELD}, beside the tensor over pairs", 0.05, beside_pairs, devices=("cpu", "cuda")),
    Pair("graph/edges", f"{FIELD} with four times the edges, beside this", 4.0, in_edges, devices=("cpu", "cuda")),
)

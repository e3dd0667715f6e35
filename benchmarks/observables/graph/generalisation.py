"""How well a learned field of a network holds for other states, other graphs, other sizes, and over time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from datamodules.network_dynamics import random_graph, rates
from zoo._solvers import integrate

SHIFTS = (0.0, 0.1, 0.2, 0.5, 1.0)  # added to states that are uniform on [0, 1]
DENSE = 0.6  # of all pairs of nodes, those with an edge in the dense graph
SIZES = (50, 100, 400, 1600)  # nodes of the graphs of the slope
SAMPLES = 200  # states of each of these
SHOWN = 20  # samples whose rates are recorded
TIMES, PATHS, STEPS = 3.0, 16, 120  # how long and how many states are followed, in steps of the fourth order


class NetworkTest(pl.Callback):
    """What the tests of a field on a network have in common: models of states and edges, data that know the truth."""

    per_replica = True

    def refusal(self, model: pl.LightningModule, data: Any) -> str:
        """Why there is nothing to compare; nothing where there is."""
        return "" if hasattr(data, "dynamics") else f"{type(data).__name__} has no dynamics of a network"


class OtherStates(NetworkTest):
    """Compares a field with the truth on states and graphs that it was not trained on, by e = |F - truth|.

        test/error_shift_S   mean e of test states with S added to each
        test/least_rise      the least difference of that from one shift to the next: positive where it rises throughout
        test/rise            that of the largest shift over that of none
        test/relative_rise   the same of mean e over the mean of |truth|
        test/moment          mean e with 0.2 added, over that of states rounded to 0 or 1. These are 0.25 away in the
                             mean, have the first moment of before and three times the variance: above 1 where an error
                             follows the first moment
        test/inside          mean e of the states (1 + x) / 2, over that of none: another moment, same range
        test/unseen          mean e on another graph of the same kind and mean degree, over that on the training graph
        test/dense           mean e on a uniform graph with 0.6 of all edges, over the mean of |truth|

    Records `shift_errors` (5,), and rates of some test states, `truth` and `learned`, (S, n), and with 0.5 added.
    """

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        x, _, edges = data.tensors("test")
        sets = [compared(pl_module, data.dynamics, x + shift, edges[0]) for shift in SHIFTS]
        errors = torch.stack([(learned - truth).abs().mean() for learned, truth in sets])
        for shift, error in zip(SHIFTS[1:], errors[1:], strict=True):
            pl_module.log(f"test/error_shift_{shift}", error)
        pl_module.log("test/least_rise", torch.stack([b - a for a, b in pairwise(errors)]).min())
        pl_module.log("test/rise", errors[-1] / errors[0])
        sizes = torch.stack([truth.abs().mean() for _, truth in sets])
        pl_module.log("test/relative_rise", errors[-1] / errors[0] * sizes[0] / sizes[-1])
        rounded, inside = (mean_error(pl_module, data.dynamics, other, edges[0]) for other in (x.round(), (1 + x) / 2))
        pl_module.log("test/moment", errors[SHIFTS.index(0.2)] / rounded)
        pl_module.log("test/inside", inside / errors[0])
        unseen = random_graph(data.graph, data.nodes, data.mean_degree, data.graph_seed + 1).to(x.device)
        pl_module.log("test/unseen", mean_error(pl_module, data.dynamics, x, unseen) / errors[0])
        learned, truth = compared(pl_module, data.dynamics, x, dense_graph(data).to(x.device))
        pl_module.log("test/dense", (learned - truth).abs().mean() / truth.abs().mean())
        pl_module.record("shift_errors", errors)
        for name, (learned, truth) in {"": sets[0], "_shifted": sets[SHIFTS.index(0.5)]}.items():
            pl_module.record(f"learned{name}", learned[:SHOWN])
            pl_module.record(f"truth{name}", truth[:SHOWN])


class OtherSizes(NetworkTest):
    """Measures how errors of single nodes cancel in the mean over n nodes, m = mean_i (F_i - truth_i).

        test/imbalance            mean over test states of |m| on the training graph. Where the truth keeps the sum of
                                  the states, as heat does, it says how well the field does
        test/cancellation_slope   slope of log std m on log n, over uniform graphs of the same mean degree with 50, 100,
                                  400 and 1,600 nodes; -1/2 for errors that are independent
        test/least_cancellation, test/most_cancellation   the extremes over these graphs of std m sqrt(n) / mean e

    Records `cancellation`, std m of each size.
    """

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        x, _, edges = data.tensors("test")
        learned, truth = compared(pl_module, data.dynamics, x, edges[0])
        pl_module.log("test/imbalance", (learned - truth).mean(1).abs().mean())
        draw = torch.Generator().manual_seed(data.graph_seed)
        deviations, ratios = [], []
        for size in SIZES:
            graph = random_graph("erdos_renyi", size, data.mean_degree, data.graph_seed).to(x.device)
            states = torch.rand(SAMPLES, size, generator=draw).to(x.device)
            parts = [compared(pl_module, data.dynamics, part, graph) for part in states.split(50)]
            errors = torch.cat([learned - truth for learned, truth in parts])
            deviations.append(errors.mean(1).std())
            ratios.append(deviations[-1] * size**0.5 / errors.abs().mean())
        pl_module.record("cancellation", found := torch.stack(deviations))
        slope = np.polyfit(np.log(SIZES), found.log().cpu().numpy(), 1)[0]
        pl_module.log("test/cancellation_slope", torch.tensor(slope, dtype=x.dtype, device=x.device))
        pl_module.log("test/least_cancellation", torch.stack(ratios).min())
        pl_module.log("test/most_cancellation", torch.stack(ratios).max())


class OverTime(NetworkTest):
    """Follows states from [0, 1] along the learned field and along the true one, x' = F(x), to time 3.

        test/path_error   mean |x - truth| at the end
        test/growth       the largest over states and times of max_i |x_i - truth_i| / integral of max_i e_i along x.
                          Where no two states of the true field move apart in the largest coordinate, as for heat, it is
                          at most 1 (Gronwall's inequality)

    Records `path_errors`, the mean of |x - truth| at all times.
    """

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        x, _, edges = data.tensors("test")
        graph, times = edges[0], torch.linspace(0, TIMES, STEPS + 1)
        batch = graph.expand(PATHS, -1, -1)
        paths = integrate(lambda _, y: pl_module(y, batch), x[:PATHS], times).states
        truth = integrate(lambda _, y: rates(data.dynamics, y, graph), x[:PATHS].double(), times).states
        apart = (paths - truth).abs()
        pl_module.record("path_errors", apart.mean((1, 2)).to(x.dtype))
        pl_module.log("test/path_error", apart[-1].mean().to(x.dtype))
        wrong = torch.stack([pl_module(y, batch) - rates(data.dynamics, y, graph) for y in paths]).abs().amax(2)
        allowed = torch.cumulative_trapezoid(wrong, times.to(wrong), dim=0)
        pl_module.log("test/growth", (apart[1:].amax(2) / allowed).max().to(x.dtype))


def compared(model: Any, dynamics: str, x: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
    """The learned and the true rates (N, n) of states x on a graph (2, E)."""
    return model(x, edges.expand(len(x), -1, -1)), rates(dynamics, x, edges)


def mean_error(model: Any, dynamics: str, x: Tensor, edges: Tensor) -> Tensor:
    """Mean e of states x (N, n) on a graph (2, E)."""
    learned, truth = compared(model, dynamics, x, edges)
    return (learned - truth).abs().mean()


def dense_graph(data: Any) -> Tensor:
    """A uniform graph on the nodes of the data, with 0.6 of all edges."""
    return random_graph("erdos_renyi", data.nodes, DENSE * (data.nodes - 1), data.graph_seed)


def inputs(data: Any) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Named states and graphs: those of training, before they are drawn from again, shifted test states, and dense."""
    x, edges = data.states("test"), data.edges
    yield "train", data.states("train"), edges
    for shift in SHIFTS:
        yield f"shift_{shift}", x + shift, edges
    yield "dense", x, dense_graph(data)

"""What is watched of linear graph networks: closed forms on small graphs, and Cora's numbers where its files are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import zoo
from benchmarks.observables.graph.conditioning import (
    Conditioning,
    alignment,
    conditioning,
    training_columns,
    why_singular,
)
from benchmarks.observables.graph.descent import ConvergenceBound, rate
from datamodules import CitationGraph
from datamodules._files import root_of
from datamodules.citation_graph import GRAPHS

#: sigma_min^2 of X (S^l)_{*I} and of the stacked scales for l = 0 … 4, found by two independent implementations.
CORA = {
    "gcn": {
        "smallest": (5.5326e-3, 1.8095e-4, 5.2800e-6, 1.7276e-7, 4.3332e-9),
        "stacked": (5.5326e-3, 7.1789e-3, 7.5113e-3, 7.6838e-3, 7.7923e-3),
        "largest": (0.64864, 0.54756, 0.52113, 0.51980, 0.51480),
    },
    "gin": {
        "smallest": (5.5326e-3, 4.1868e-3, 3.2725e-3, 1.2061e-3, 8.2748e-4),
        "stacked": (5.5326e-3, 2.4802e-2, 3.4980e-2, 4.1375e-2, 4.3940e-2),
        "largest": (0.64864, 31.708, 5071.1, 5.7851e5, 1.7740e8),
    },
}


def complete(nodes: int) -> torch.Tensor:
    return (~torch.eye(nodes, dtype=torch.bool)).nonzero().T


def graph(edges: torch.Tensor, nodes: int, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
    """A batch whose features are the identity, so that columns are those of S^l."""
    chosen = torch.ones(1, nodes, dtype=torch.bool) if mask is None else mask[None]
    return torch.eye(nodes)[None], edges[None], torch.zeros(1, nodes, dtype=torch.int64), chosen


def linear(nodes: int, **arguments: object) -> Any:
    return zoo.create("LinearGNN", in_features=nodes, num_classes=2, **arguments)


def test_a_cycle_has_the_eigenvalues_of_its_graph() -> None:
    """A + I of a cycle has eigenvalues 1 + 2 cos(2 pi k / n), those of "gcn" are a third of that."""
    ring = torch.arange(7)
    edges = torch.cat([torch.stack([ring, (ring + 1) % 7]), torch.stack([(ring + 1) % 7, ring])], 1)
    eigenvalues = 1 + 2 * torch.cos(2 * torch.pi * torch.arange(7, dtype=torch.float64) / 7)
    for operator, scale in (("gin", 1.0), ("gcn", 3.0)):
        found = conditioning(training_columns(linear(7, operator=operator), graph(edges, 7), 2))
        squares = (eigenvalues / scale) ** 2
        for power in range(3):
            torch.testing.assert_close(found["smallest"][power], (squares**power).min())
            torch.testing.assert_close(found["largest"][power], (squares**power).max())
            stacked = torch.stack([squares**own for own in range(power + 1)]).sum(0)
            torch.testing.assert_close(found["stacked"][power], stacked.min())


def test_stacked_scales_are_at_least_the_sum_of_their_smallest_values() -> None:
    columns = torch.randn(4, 6, 9, dtype=torch.float64)
    found = conditioning(columns)
    assert bool((found["stacked"] >= found["smallest"].cumsum(0) * (1 - 1e-12)).all())


def test_more_nodes_than_features_leave_nothing() -> None:
    columns = torch.randn(1, 5, 3, dtype=torch.float64)
    assert conditioning(columns)["smallest"].tolist() == [0]
    assert why_singular(columns[0], torch.arange(5)) == "there are more of them than the 3 features"
    assert rate(columns[0]) == 0


def test_two_neighbours_with_the_same_other_neighbours_are_named() -> None:
    edges = torch.tensor([[0, 1, 2, 3, 3, 4], [1, 0, 3, 2, 4, 3]])  # 0 - 1 by themselves, and 2 - 3 - 4
    for operator in ("gcn", "gin"):
        columns = training_columns(linear(5, operator=operator), graph(edges, 5), 2)
        assert why_singular(columns[0], torch.arange(5)) == ""
        for power in (1, 2):
            assert float(conditioning(columns)["smallest"][power]) < 1e-25
            assert "features of nodes 10 and 11 coincide" in why_singular(columns[power], torch.arange(10, 15))
        without = columns[:, [0, 2, 3, 4]]
        assert why_singular(without[2], torch.arange(4)) == ""
    twins = training_columns(linear(4), graph(complete(4), 4), 1)[1]
    assert "nodes 0 and 1, 0 and 2, 0 and 3, and of 3 pairs more, coincide" in why_singular(twins, torch.arange(4))


def test_a_combination_of_several_nodes_is_said_to_vanish() -> None:
    columns = torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 1], [1, 1, 0, 2]], dtype=torch.float64)
    assert why_singular(columns, torch.arange(3)) == "a combination of several nodes vanishes"


class Logged:
    """Stands for a model in a test: keeps what is logged and recorded."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.metrics: dict[str, float] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def log(self, name: str, value: torch.Tensor) -> None:
        self.metrics[name] = float(value)


def test_it_warns_once_and_says_why() -> None:
    module = Logged(linear(5))
    batch = graph(torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]]), 5, torch.tensor([True, True, True, False, True]))
    trainer: Any = SimpleNamespace(datamodule=SimpleNamespace(tensors=lambda split: batch))
    with pytest.warns(UserWarning, match=r"X S\^1 at the 4 training nodes is 0: the features of nodes 0 and 1") as seen:
        Conditioning(depth=3).on_test_epoch_end(trainer, module)
    assert len(seen) == 1
    assert module.metrics["test/smallest_0"] == 1
    assert module.metrics["test/smallest_1"] < 1e-25


def test_alignment_is_the_mean_of_squares_of_singular_values_that_labels_weigh() -> None:
    columns, labels = torch.randn(6, 9, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 0])
    u, values, _ = torch.linalg.svd(columns)
    weights = (u.T @ torch.nn.functional.one_hot(labels).double()).square().sum(1) / 6
    torch.testing.assert_close(alignment(columns, labels), (weights * (values / values[0]) ** 2).sum())
    assert float(alignment(torch.ones(6, 2, dtype=torch.float64), torch.zeros(6, dtype=torch.int64))) == pytest.approx(
        1
    )


@pytest.mark.parametrize("scales", ["last", "all"])
def test_the_loss_stays_below_its_bound_where_steps_are_small(scales: str) -> None:
    torch.manual_seed(0)
    model = linear(10, depth=2, width=16, scales=scales, lr=0.01).double()
    ring = torch.arange(10)
    edges = torch.cat([torch.stack([ring, (ring + 1) % 10]), torch.stack([(ring + 1) % 10, ring])], 1)
    mask = torch.zeros(10, dtype=torch.bool).index_fill(0, torch.tensor([0, 3, 7]), True)
    x, edges, _, _ = graph(edges, 10)
    batch = (x.double(), edges, (torch.arange(10) % 2)[None], mask[None])
    trainer: Any = SimpleNamespace(datamodule=SimpleNamespace(tensors=lambda split: batch), should_stop=False)
    watcher, optimiser = ConvergenceBound(), model.configure_optimizers()
    watcher.on_fit_start(trainer, model)
    for step in range(300):
        watcher.on_train_batch_start(trainer, model, batch, step)
        loss = model.step(batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        watcher.on_train_batch_end(trainer, model, {"loss": loss}, batch, step)
        watcher.on_train_epoch_end(trainer, model)
    module = Logged(model)
    watcher.on_test_epoch_end(trainer, module)
    loss, bound = model.recorded["loss"], model.recorded["bound"]
    assert float(loss[0]) == float(bound[0]) == 3
    assert bool((loss <= bound).all())
    assert float(bound[-1]) < 2.7  # the bound says something here
    assert module.metrics["test/excess"] == 0
    assert module.metrics["test/diverged"] == 0
    assert not trainer.should_stop
    again = ConvergenceBound()
    again.load_state_dict(watcher.state_dict())
    assert again.bound == watcher.bound


def test_training_ends_where_the_loss_has_grown_tenfold() -> None:
    trainer: Any = SimpleNamespace(should_stop=False)
    model, watcher = linear(4), ConvergenceBound()
    for loss in (4.0, 39.0, 41.0):
        assert not trainer.should_stop
        watcher.on_train_batch_end(trainer, model, {"loss": torch.tensor(loss)}, (), 0)
        watcher.on_train_epoch_end(trainer, model)
    assert trainer.should_stop
    module = Logged(model)
    watcher.on_test_epoch_end(trainer, module)
    assert module.metrics["test/diverged"] == 1
    assert module.metrics["test/growth"] == pytest.approx(41 / 4)


def test_bad_arguments_and_other_models_are_refused() -> None:
    with pytest.raises(ValueError, match="depth must be at least 0, got -1"):
        Conditioning(depth=-1)
    with pytest.raises(ValueError, match=r"astray must be above 1, got 1\.0"):
        ConvergenceBound(astray=1.0)
    skip = zoo.create("SkipGNN", in_features=4, num_classes=2)
    assert ConvergenceBound().refusal(skip, None) == "SkipGNN is no linear graph network"
    field = zoo.create("GraphVectorField")
    assert Conditioning().refusal(field, None) == "GraphVectorField sums nothing over neighbours"


@pytest.mark.parametrize("operator", ["gcn", "gin"])
def test_the_numbers_of_cora(operator: str) -> None:
    if not root_of(GRAPHS["cora"].files):
        pytest.skip("the files of Cora are not here")
    batch = CitationGraph("cora").load("train")
    found = conditioning(training_columns(linear(1433, width=1, operator=operator), batch, 4))
    for name, expected in CORA[operator].items():
        for value, stated in zip(found[name].tolist(), expected, strict=True):
            assert value == pytest.approx(stated, rel=1e-3 if stated > 1e-8 else 1e-2)  # doubles lose digits below


def test_two_papers_of_citeseer_cannot_be_told_apart_after_a_sum() -> None:
    if not root_of(GRAPHS["citeseer"].files):
        pytest.skip("the files of CiteSeer are not here")
    batch = CitationGraph("citeseer").load("train")
    columns = training_columns(linear(3703, width=1), batch, 1)
    assert why_singular(columns[0], torch.arange(120)) == ""
    assert "features of nodes 35 and 89 coincide" in why_singular(columns[1], torch.arange(120))

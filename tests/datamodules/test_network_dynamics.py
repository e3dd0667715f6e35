"""Rates of change on random graphs: closed forms, what is kept, exact counts, and what is refused."""

from __future__ import annotations

import pytest
import torch

from datamodules import NetworkDynamics
from datamodules.network_dynamics import DYNAMICS, GRAPHS, edge_count, random_graph, rates

PAIR = torch.tensor([[0, 1], [1, 0]])
#: F of the states (a, b) of two nodes with an edge between them, first coordinate, by the equations written out.
WRITTEN_OUT = {
    "heat": lambda a, b: -0.5 * (a - b),
    "mass_action": lambda a, b: 0.5 - 0.1 * a**3 - a * b,
    "population": lambda a, b: -2 * a**3 + 0.3 * b**1.5,
    "michaelis_menten": lambda a, b: -4 * a + 0.5 * b**3 / (1 + b**3),
    "sis": lambda a, b: -4 * a + 0.5 * (1 - a) * b,
}


@pytest.mark.parametrize("dynamics", DYNAMICS)
def test_two_nodes_follow_the_equations(dynamics: str) -> None:
    a, b = 0.3, 0.8
    expected = torch.tensor([WRITTEN_OUT[dynamics](a, b), WRITTEN_OUT[dynamics](b, a)], dtype=torch.float64)
    torch.testing.assert_close(rates(dynamics, torch.tensor([a, b], dtype=torch.float64), PAIR), expected)


def test_heat_is_the_graph_laplacian_and_keeps_the_sum() -> None:
    edges = random_graph("erdos_renyi", 40, 6.0, 0)
    adjacency = torch.zeros(40, 40, dtype=torch.float64)
    adjacency[edges[0], edges[1]] = 1
    laplacian = adjacency.sum(1).diag() - adjacency
    x = torch.rand(5, 40, dtype=torch.float64)
    found = rates("heat", x, edges)
    torch.testing.assert_close(found, -0.5 * x @ laplacian)
    torch.testing.assert_close(found.sum(1), torch.zeros(5, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("seed", range(3))
def test_graphs_are_simple_undirected_and_of_the_size_that_is_told(graph: str, seed: int) -> None:
    edges = random_graph(graph, 60, 6.0, seed)
    pairs = set(map(tuple, edges.T.tolist()))
    assert edges.shape == (2, 2 * edge_count(graph, 60, 6.0))
    assert len(pairs) == edges.shape[1]
    assert all(a != b and (b, a) in pairs for a, b in pairs)


def test_the_mean_degree_of_the_authors_graph() -> None:
    assert edge_count("erdos_renyi", 100, 9.48) == 474


@pytest.mark.parametrize("mean_degree", [1.0, 4.2, 9.5, 30.0, 50.0])
def test_a_scale_free_graph_has_a_mean_degree_near_the_one_given(mean_degree: float) -> None:
    edges = random_graph("scale_free", 100, mean_degree, 0)
    assert abs(edges.shape[1] / 100 - mean_degree) <= 1


def test_seeds_share_the_graph_and_not_the_states() -> None:
    one, other = NetworkDynamics(seed=0), NetworkDynamics(seed=1)
    assert torch.equal(one.edges, other.edges)
    assert not torch.equal(one.load("train")[0], other.load("train")[0])
    assert not torch.equal(one.edges, NetworkDynamics(graph_seed=1).edges)


def test_a_bootstrap_draws_from_the_same_states() -> None:
    modules = [NetworkDynamics(bootstrap=0.9, seed=seed) for seed in range(2)]
    states = modules[0].states("train")
    assert torch.equal(states, modules[1].states("train"))
    drawn = [module.load("train")[0] for module in modules]
    known = {tuple(row) for row in states.tolist()}
    for x in drawn:
        assert len(x) == 900
        assert {tuple(row) for row in x.tolist()} <= known
        # 900 draws from 1,000 leave 1000 e^-0.9 = 406.6 out on average, with a deviation below sqrt(1000 / 4) = 15.8
        assert abs(len({tuple(row) for row in x.tolist()}) - 593.4) < 3 * 15.8
    assert not torch.equal(*drawn)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dynamics": "Heat"}, "dynamics must be one of 'heat', 'mass_action'"),
        ({"graph": "ring"}, "graph must be one of 'erdos_renyi', 'scale_free'"),
        ({"nodes": 0}, "nodes must be at least 1"),
        ({"mean_degree": 100.0}, r"mean_degree must lie in \(0.01, 99\] for 100 nodes, got 100.0"),
        ({"mean_degree": float("nan")}, "mean_degree must lie in"),
        ({"mean_degree": 0.01}, "mean_degree must lie in"),  # not a single edge
        ({"graph": "scale_free", "mean_degree": 60.0}, r"mean_degree must lie in \(0.98, 51\] for 100 nodes, got 60.0"),
        ({"train_size": 0}, "train_size must be at least 1"),
        ({"bootstrap": 0.0}, "bootstrap must be a share of the 1000 training samples above 0, got 0.0"),
    ],
)
def test_bad_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkDynamics(**settings)

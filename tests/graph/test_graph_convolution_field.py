"""Graph convolutions of a library as fields: one graph a sample, and what each sees of a neighbourhood."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import zoo
from datamodules.network_dynamics import random_graph
from zoo.graph.graph_convolution_field import CONVOLUTIONS

pytest.importorskip("torch_geometric")


def field(convolution: str) -> Any:
    torch.manual_seed(0)
    return zoo.create("GraphConvolutionField", convolution=convolution, width=5).double().eval()


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_samples_do_not_see_each_other(convolution: str) -> None:
    model, edges = field(convolution), random_graph("erdos_renyi", 20, 4.0, 0)
    x = torch.rand(3, 20, dtype=torch.float64)
    together = model(x, edges.expand(3, -1, -1))
    apart = torch.cat([model(each[None], edges[None]) for each in x])
    torch.testing.assert_close(together, apart)


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_only_a_mean_over_the_neighbours_does_not_tell_how_many_there_are(convolution: str) -> None:
    star = torch.tensor([[1, 2, 3, 0, 0, 0], [0, 0, 0, 1, 2, 3]])  # three neighbours of one state, and one of them
    one = star[:, [0, 3]]
    x = torch.full((1, 4), 0.3, dtype=torch.float64)
    x[0, 0] = 0.8
    model = field(convolution)
    same = torch.isclose(model(x, star[None])[0, 0], model(x, one[None])[0, 0], rtol=1e-12)
    assert bool(same) == (convolution == "sage")


def test_another_convolution_is_refused() -> None:
    with pytest.raises(ValueError, match="convolution must be one of 'sage', 'graph'"):
        zoo.create("GraphConvolutionField", convolution="cheb")


def test_layers_are_no_other_model_s() -> None:
    one, other = field("gated"), field("gated")
    assert not {id(module) for module in one.modules()} & {id(module) for module in other.modules()}

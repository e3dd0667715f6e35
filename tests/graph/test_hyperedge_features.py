"""What nodes are to a model of hyperedges: rows of co-occurrences beside dense ones, walks beside their law."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from datamodules import PlantedHyperedges
from zoo.graph._cooccurrence import CooccurrenceEncoder
from zoo.graph._walks import Walker, near, skip_gram

#: Users 0 to 3, places 4 to 6, deeds 7 and 8; one triple comes twice.
TRIPLES = torch.tensor([[0, 4, 7], [0, 5, 7], [1, 4, 8], [2, 6, 7], [3, 6, 8], [0, 4, 8], [0, 4, 7], [1, 5, 7]])
NODES = [4, 3, 2]


def dense_rows(hyperedges: Tensor, nodes: list[int]) -> Tensor:
    """a (total, total) by the incidence matrix: H H^T without its diagonal, over the most of each column and type."""
    total = sum(nodes)
    incidence = torch.zeros(total, len(hyperedges), dtype=torch.float64)
    for number, row in enumerate(hyperedges.tolist()):
        incidence[[i for i in row if i >= 0], number] = 1
    counts = (incidence @ incidence.T).fill_diagonal_(0)
    return torch.cat([part / part.amax(0).clamp(min=1) for part in counts.split(nodes)])


def dense_weights(encoder: CooccurrenceEncoder, table: Tensor) -> list[Tensor]:
    """For each type the rows of a table of columns that belong to it, at the numbers of all nodes, (total, …)."""
    total, made = sum(encoder.nodes), []
    for kind, part in enumerate(table.split(encoder.columns)):
        full = part.new_zeros(total, *part.shape[1:])
        start, end = encoder.starts[kind : kind + 2]
        others = [j for j in range(total) if len(encoder.nodes) == 1 or not start <= j < end]
        full[others] = part
        made.append(full)
    return made


@pytest.mark.parametrize("nodes", [NODES, [9]])
def test_the_encoder_is_that_of_the_dense_rows(nodes: list[int]) -> None:
    torch.manual_seed(0)
    encoder = CooccurrenceEncoder(nodes, 8 * 6, 5, 0.25).double().eval()
    encoder.take(TRIPLES)
    rows, weights, biases = (
        dense_rows(TRIPLES, nodes),
        *(dense_weights(encoder, t) for t in (encoder.weight, encoder.told_bias)),
    )
    h, w = encoder.hidden()
    expected, errors = [], torch.zeros((), dtype=torch.float64)
    named = torch.tensor([[0, 4, 7], [0, 6, -1], [3, 4, 8]])
    for kind, (start, end) in enumerate(zip(encoder.starts, encoder.starts[1:], strict=False)):
        a = rows[start:end]
        hidden = (a @ weights[kind] + encoder.bias[kind]).tanh()
        expected.append(F.layer_norm(hidden, (5,), encoder.gain[kind], encoder.shift[kind]))
        told = hidden @ weights[kind].T + biases[kind]
        error = ((told - a).square() * (a > 0)).sum(1) / (a > 0).sum(1).clamp(min=1)
        own = [int(i) - start for i in named.flatten() if start <= int(i) < end]
        errors = errors + error[own].mean()
    torch.testing.assert_close(encoder.normed(h), torch.cat(expected))
    torch.testing.assert_close(encoder.error(h, w, named), errors)


def test_a_second_reading_leaves_nothing_of_the_first() -> None:
    encoder, fresh = (CooccurrenceEncoder(NODES, 8 * 6, 5, 0.0) for _ in range(2))
    encoder.take(TRIPLES)
    for each in (encoder, fresh):
        each.take(TRIPLES[2:4])
    assert all(torch.equal(a, b) for a, b in zip(encoder.buffers(), fresh.buffers(), strict=True))


def law(hyperedges: list[list[int]], total: int, u: int | None, v: int, p: float, q: float) -> Tensor:
    """The chances of the next node after u and v, from the definition."""
    sets = [set(row) for row in hyperedges]
    chance = torch.zeros(total, dtype=torch.float64)
    for w in set(range(total)) - {v}:
        shared = sum(1 / len(e) for e in sets if {v, w} <= e)
        if not shared:
            continue
        bias = 1.0
        if u is not None:
            together = w == u or any({u, v, w} <= e for e in sets)
            bias = 1 / p if together else 1.0 if any({u, w} <= e for e in sets) else 1 / q
        chance[w] = bias * shared / sum(w in e for e in sets) ** 0.5
    return chance / chance.sum()


@pytest.mark.parametrize("u", [None, 1, 5])
def test_a_step_of_a_walk_has_the_chances_of_its_definition(u: int | None) -> None:
    hyperedges = [[0, 1, 2], [0, 1, 3], [0, 4, 5, 6], [0, 7], [1, 4], [2, 6], [0, 4, 5]]
    padded = torch.tensor([row + [-1] * (4 - len(row)) for row in hyperedges])
    draws = 100_000
    walker, draw = Walker(padded, 9, p=2.0, q=0.25), torch.Generator().manual_seed(0)
    before = None if u is None else torch.full((draws,), u)
    came = walker.step(before, torch.zeros(draws, dtype=torch.int64), draw)
    expected = law(hyperedges, 9, u, 0, 2.0, 0.25)
    share = came.bincount(minlength=9) / draws
    assert float(((share - expected).abs() / (expected / draws).sqrt().clamp(min=1e-9)).max()) < 4.5  # deviations
    assert bool((share[expected == 0] == 0).all())


def test_a_node_without_others_stays() -> None:
    walker = Walker(torch.tensor([[0, 1, -1], [2, -1, -1]]), 4, 1.0, 1.0)
    walks = walker.walks(torch.tensor([2, 3, 0]), 3, torch.Generator().manual_seed(0))
    assert walks.tolist() == [[2, 2, 2], [3, 3, 3], [0, 1, 0]]


def test_what_is_near_is_within_the_window_and_nearer_pairs_come_more_often() -> None:
    walks = torch.arange(400).expand(200, -1)
    first, second = near(walks, 4, torch.Generator().manual_seed(0))
    apart = (second - first).abs().bincount()
    assert len(apart) == 5
    assert apart[0] == 0
    expected = torch.tensor([1.0, 0.75, 0.5, 0.25])  # a reach uniform from 1 to 4 is at least so much
    assert apart[1:] / apart[1] == pytest.approx(expected, abs=0.01)


def test_skip_gram_brings_together_what_shares_hyperedges() -> None:
    data = PlantedHyperedges(groups=4, members=8, train_size=80, val_size=8, test_size=8)
    draw = torch.Generator().manual_seed(0)
    walks = Walker(data.positives["train"], 32, 2.0, 0.25).walks(torch.arange(32).repeat(10), 20, draw)
    x = skip_gram(walks, 32, 16, draw, window=5, passes=10, batch=32)
    torch.testing.assert_close(x.mean(0), torch.zeros(16), rtol=0, atol=1e-5)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(16))
    nearest = (F.normalize(x) @ F.normalize(x).T).fill_diagonal_(-1).argmax(1)
    assert bool((nearest // 8 == torch.arange(32) // 8).all())  # by chance 7 of 31

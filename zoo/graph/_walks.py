"""Random walks on a hypergraph, and embeddings of nodes by what is near them on walks."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.graph._cooccurrence import ordered

NOISE, PER_PAIR, POWER = 128, 5, 0.75  # nodes that are not near: how many a step, their weight, and word2vec's power
LR = 0.01


class Walker:
    """A walk of second order: from v, that it came to from u, to w with a chance in proportion to

        b(u, v, w) / sqrt(d_w) * sum of 1 / |e| over the hyperedges e that have both v and w

        b = 1 / p   if w is u, or one hyperedge has all three
            1       if w shares a hyperedge with u, but none with u and v
            1 / q   otherwise

    d_w is the number of w's hyperedges. The first step has b = 1, and a node without another one stays where it is.
    Steps with b = 1 are proposed, and taken at the rate of b over the largest.
    """

    def __init__(self, hyperedges: Tensor, total: int, p: float, q: float) -> None:
        self.total, self.p, self.q = total, p, q
        size = (hyperedges >= 0).sum(1)
        degree = hyperedges[hyperedges >= 0].bincount(minlength=total)
        pairs, present = ordered(hyperedges, 2)
        source, other = pairs[:, present]
        shared = size.expand_as(present)[present]
        order = source.argsort(stable=True)
        self.other = other[order]
        weight = (1 / (shared * degree[other].double().sqrt()))[order]
        self.upto = F.pad(weight.cumsum(0), (1, 0))
        self.last = source.bincount(minlength=total).cumsum(0)
        self.first = self.last - source.bincount(minlength=total)
        self.pairs = (source * total + other).unique()
        triples, present = ordered(hyperedges, 3)
        self.triples = self._key(*triples[:, present]).unique()

    def _key(self, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
        return (u * self.total + v) * self.total + w

    def walks(self, start: Tensor, length: int, draw: torch.Generator) -> Tensor:
        """Walks (N, length) from nodes (N,)."""
        walk = [start]
        for _ in range(length - 1):
            walk.append(self.step(walk[-2] if len(walk) > 1 else None, walk[-1], draw))
        return torch.stack(walk, 1)

    def step(self, before: Tensor | None, at: Tensor, draw: torch.Generator) -> Tensor:
        """Where walks at nodes (N,) that came from others go, (N,)."""
        found, todo = at.clone(), (self.last[at] > self.first[at]).nonzero()[:, 0]
        while len(todo):
            v = at[todo]
            number, accept = torch.rand(2, len(todo), generator=draw, dtype=torch.float64).to(at.device)
            first, last = self.first[v], self.last[v]
            place = self.upto[first] + number * (self.upto[last] - self.upto[first])
            chosen = (torch.searchsorted(self.upto, place, right=True) - 1).clamp(first, last - 1)
            w = self.other[chosen]
            taken = torch.ones_like(accept, dtype=torch.bool)
            if before is not None:
                taken = accept * max(1 / self.p, 1.0, 1 / self.q) < self.bias(before[todo], v, w)
            found[todo[taken]] = w[taken]
            todo = todo[~taken]
        return found

    def bias(self, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
        """b of (N,) nodes each."""
        together = (w == u) | _among(self._key(u, v, w), self.triples)
        near = _among(u * self.total + w, self.pairs)
        return torch.where(together, 1 / self.p, torch.where(near, 1.0, 1 / self.q))


def _among(keys: Tensor, table: Tensor) -> Tensor:
    if not len(table):
        return torch.zeros_like(keys, dtype=torch.bool)
    return table[torch.searchsorted(table, keys).clamp(max=len(table) - 1)] == keys


def near(walks: Tensor, window: int, draw: torch.Generator) -> Tensor:
    """Pairs (2, P) of nodes that are at most b apart on a walk, b of each first one uniform from 1 to window."""
    reach = torch.randint(1, window + 1, walks.shape, generator=draw).to(walks.device)
    parts = []
    for apart in range(1, min(window, walks.shape[1] - 1) + 1):
        one, other = walks[:, :-apart], walks[:, apart:]
        ahead, back = reach[:, :-apart] >= apart, reach[:, apart:] >= apart
        parts += [torch.stack([one[ahead], other[ahead]]), torch.stack([other[back], one[back]])]
    return torch.cat(parts, 1)


@torch.enable_grad()
def skip_gram(
    walks: Tensor, total: int, features: int, draw: torch.Generator, window: int, passes: int, batch: int
) -> Tensor:
    """Embeddings x (total, features), each coordinate with mean 0 and deviation 1 over the nodes on walks (R, L).

        minimise  - log s(x_i . y_j) - 5 E log s(- x_i . y_l),   s = 1 / (1 + exp(-.))

    over pairs (i, j) that are near, and l drawn in proportion to (visits of l)^(3/4), the same 128 for all pairs of a
    step; by Adam, so many `passes` over all walks, with a step for each `batch` of them.
    """
    x = ((torch.rand(total, features, generator=draw) - 0.5) / features).to(walks.device).requires_grad_()
    y = torch.zeros_like(x, requires_grad=True)
    visits = walks.flatten().bincount(minlength=total)
    noise = (visits.double() ** POWER).cpu()
    adam = torch.optim.Adam([x, y], lr=LR)
    for _ in range(passes):
        shuffled = walks[torch.randperm(len(walks), generator=draw).to(walks.device)]
        for block in shuffled.split(batch):
            i, j = near(block, window, draw)
            other = torch.multinomial(noise, NOISE, replacement=True, generator=draw).to(walks.device)
            seen = F.logsigmoid(torch.linalg.vecdot(F.embedding(i, x), F.embedding(j, y))).mean()
            first, times = i.unique(return_counts=True)
            unseen = F.logsigmoid(-F.embedding(first, x) @ F.embedding(other, y).T).mean(1) @ (times / len(i))
            adam.zero_grad()
            (-seen - PER_PAIR * unseen).backward()
            adam.step()
    met = x.detach()[visits > 0]
    return (x.detach() - met.mean(0)) / met.std(0, correction=0).clamp(min=1 / math.sqrt(torch.finfo(x.dtype).max))

"""Sums over the neighbours in a graph, and the inputs of models on one graph."""

from __future__ import annotations

import torch
from torch import Tensor

#: A product with the dense adjacency matrix reads n^2 numbers in order, a sum over edges E rows out of order: on
#: processors the product is faster up to about so many entries an edge.
ENTRIES_PER_EDGE = 32


def neighbour_sum(u: Tensor, edges: Tensor) -> Tensor:
    """sum_i A_ij u_i for every node j, of u (n, …) and edges (2, E) from sources i to targets j."""
    source, target = edges
    if u.shape[0] ** 2 <= ENTRIES_PER_EDGE * source.shape[0]:
        one = u.new_ones(()).expand(source.shape[0])
        adjacency = u.new_zeros(u.shape[0], u.shape[0]).index_put((target, source), one, accumulate=True)
        return (adjacency @ u.flatten(1)).view_as(u)
    return torch.zeros_like(u).index_add(0, target, u.index_select(0, source))


def check_edges(edges: Tensor, nodes: int, undirected: bool = False) -> None:
    """Raises ValueError where edges are not (2, E) of node numbers below `nodes`, come twice or begin where they end.

    What a node does to itself is the models' own. If `undirected`, also where one comes in one direction alone.
    """
    if edges.ndim != 2 or len(edges) != 2 or edges.is_floating_point() or edges.dtype == torch.bool:
        raise ValueError(f"expected edges of whole numbers of shape (2, E), got {tuple(edges.shape)} of {edges.dtype}")
    edges = edges.long()  # pairs are numbered up to n^2
    if bool((bad := (edges < 0) | (edges >= nodes)).any()):
        end, number = bad.nonzero()[0].tolist()
        raise ValueError(f"edges[{end}, {number}] is {int(edges[end, number])}: the nodes are 0 to {nodes - 1}")
    if bool((loops := edges[0] == edges[1]).any()):
        node = int(edges[0][loops][0])
        raise ValueError(
            f"the edge from {node} to itself is one too many: what a node does to itself is in the model already "
            "(torch_geometric.utils.remove_self_loops)"
        )
    pairs, counts = (edges[0] * nodes + edges[1]).unique(return_counts=True)
    if bool((counts > 1).any()):
        pair, times = int(pairs[counts > 1][0]), int(counts[counts > 1][0])
        raise ValueError(
            f"the edge from {pair // nodes} to {pair % nodes} comes {times} times: drop the copies "
            "(torch_geometric.utils.coalesce)"
        )
    if undirected and bool((single := ~torch.isin(edges[1] * nodes + edges[0], pairs)).any()):
        source, target = edges[:, single][:, 0].tolist()
        raise ValueError(
            f"the edge from {source} to {target} comes in one direction alone: give each in both "
            "(torch_geometric.utils.to_undirected)"
        )

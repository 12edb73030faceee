"""Small graphs that the tests share."""

import networkx as nx
import pytest
import torch

from neurarium.data import Graph


def random_graph(nodes=12, p=0.3, seed=0, directed=False, features=5, dtype=torch.float64):
    """A random graph without loops, as `Graph`."""
    made = nx.gnp_random_graph(nodes, p, seed=seed, directed=directed)
    edges = torch.tensor(list(made.edges), dtype=torch.long).reshape(-1, 2).T
    if not directed:
        edges = torch.cat([edges, edges.flip(0)], 1)
    generator = torch.Generator().manual_seed(seed)
    return Graph(torch.randn(nodes, features, generator=generator, dtype=dtype), edges)


@pytest.fixture
def graph():
    return random_graph()


@pytest.fixture
def directed():
    return random_graph(directed=True)


def permuted(graph, order):
    """The same graph, its nodes renumbered: row i of the new one is row order[i]."""
    number = torch.empty_like(order)
    number[order] = torch.arange(len(order))
    x = graph.x.to_dense() if graph.x.is_sparse_csr else graph.x
    return Graph(
        x[order], number[graph.edge_index], edge_weight=graph.edge_weight, edge_type=graph.edge_type
    )

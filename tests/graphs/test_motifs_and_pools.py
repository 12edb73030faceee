import itertools

import networkx as nx
import pytest
import torch
from tests.graphs.conftest import random_graph

from neurarium.data import Graph
from neurarium.graphs import GIN, AttentionPool, GINConv, TopKPool, motif_adjacency, pool

_NAMES = "030C 120C 210 300 030T 120D 120U 021D 021C 021U 111U 111D 201"
CENSUS = dict(enumerate(_NAMES.split(), start=1))


def networkx_of(graph):
    made = nx.DiGraph()
    made.add_nodes_from(range(graph.num_nodes))
    made.add_edges_from(graph.edge_index.T.tolist())
    return made


@pytest.mark.parametrize("k", range(1, 14))
@pytest.mark.parametrize("seed", [0, 1])
def test_motif_counts_are_those_of_brute_force_over_triples(k, seed):
    graph = random_graph(9, 0.35, seed=seed, directed=True)
    made = networkx_of(graph)
    expected = torch.zeros(9, 9)
    for triple in itertools.combinations(range(9), 3):
        census = nx.triadic_census(made.subgraph(triple))
        if census[CENSUS[k]]:
            for i, j in itertools.permutations(triple, 2):
                expected[i, j] += 1
    found = motif_adjacency(graph, k).to_dense()
    assert torch.equal(found, expected.double())
    assert found.sum() / 6 == nx.triadic_census(made)[CENSUS[k]]


def test_an_undirected_graph_has_only_motifs_4_and_13():
    graph = random_graph(10, 0.4)
    alive = {k for k in range(1, 14) if motif_adjacency(graph, k).to_dense().any()}
    assert alive == {4, 13}


def test_loops_and_repeated_edges_are_no_motifs():
    edges = torch.tensor([[0, 1, 2, 0, 0], [1, 2, 0, 0, 1]])  # a 3-cycle, a loop, an edge again
    found = motif_adjacency(Graph(torch.eye(3), edges), 1).to_dense()
    assert torch.equal(found, 1 - torch.eye(3))


def test_a_motif_has_a_number_from_1_to_13(unchecked, directed):
    with pytest.raises(ValueError, match=r"k must be 1 \.\.\. 13"):
        motif_adjacency(directed, 14)


@pytest.mark.parametrize("how", ["sum", "mean", "max"])
def test_pool_by_hand(how):
    h = torch.tensor([[1.0], [3.0], [5.0]])
    batch = torch.tensor([0, 0, 1])
    expected = {"sum": [4, 5], "mean": [2, 5], "max": [3, 5]}[how]
    assert pool(h, batch, how).flatten().tolist() == expected
    assert pool(h, None, how).flatten().tolist() == {"sum": [9], "mean": [3], "max": [5]}[how]


def test_attention_pool_weighs_by_a_softmax_within_each_graph():
    torch.manual_seed(0)
    layer, h = AttentionPool(4, 3).double(), torch.randn(6, 4, dtype=torch.float64)
    batch = torch.tensor([0, 1, 0, 1, 1, 0])
    expected = [
        (layer.gate(h[batch == g]).softmax(0) * layer.value(h[batch == g])).sum(0) for g in (0, 1)
    ]
    torch.testing.assert_close(layer(h, batch), torch.stack(expected))


def test_top_k_keeps_the_highest_of_each_graph_and_the_edges_between():
    layer = TopKPool(1, ratio=0.5)
    with torch.no_grad():
        layer.direction.fill_(2.0)  # the score is the feature itself
    path = Graph.from_networkx(nx.path_graph(3))
    a = Graph(torch.tensor([[1.0], [3.0], [2.0]]), path.edge_index)
    b = Graph(torch.tensor([[-1.0], [-3.0], [-2.0], [5.0]]), path.edge_index)
    both = Graph.collate([a, b])
    x, smaller = layer(both.x, both)
    assert smaller.batch.tolist() == [0, 0, 1, 1]
    kept = torch.tensor([[3.0], [2.0], [-1.0], [5.0]])
    torch.testing.assert_close(x, kept * kept.sigmoid())
    # Of a's path 0-1-2 the edge 1-2 stays; b's kept nodes had none.
    assert smaller.edge_index.T.tolist() == [[0, 1], [1, 0]]


def test_networks_for_graphs_do_not_see_order_or_company():
    torch.manual_seed(0)
    graphs = [random_graph(n, 0.5, seed=n, dtype=torch.float32) for n in (5, 7, 6)]
    network = GIN(5, 8, 3, layers=2).eval()
    together = network(Graph.collate(graphs))
    apart = torch.cat([network(Graph.collate([g])) for g in graphs])
    torch.testing.assert_close(together, apart)


def ones(graph):
    made = Graph.from_networkx(graph)
    return Graph(torch.ones(made.num_nodes, 1), made.edge_index)


def star_counts(leaves):
    """A middle node whose neighbours are so many of each feature: Xu et al., figure 3."""
    x = torch.tensor([[0.0, 0.0], *[[1.0, 0.0]] * leaves[0], *[[0.0, 1.0]] * leaves[1]])
    count = len(x)
    ends = torch.stack([torch.arange(1, count), torch.zeros(count - 1, dtype=torch.long)])
    return Graph(x, ends)


@pytest.mark.parametrize(
    ("a", "b", "blind"),
    [((2, 2), (1, 1), ("mean", "max")), ((2, 1), (1, 1), ("max",))],
)
def test_the_sum_tells_neighbourhoods_apart_that_mean_and_maximum_cannot(a, b, blind):
    from neurarium.graphs import spread
    from neurarium.graphs.propagate import at_sources

    for how in ("sum", "mean", "max"):
        one, other = (
            spread(g, at_sources(g, g.x), how)[0] for g in (star_counts(a), star_counts(b))
        )
        assert torch.equal(one, other) == (how in blind)


def test_gin_is_as_blind_as_the_weisfeiler_lehman_test():
    torch.manual_seed(0)
    two = nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3))
    network = GIN(1, 16, 4, layers=3, norm=None)
    triangles, hexagon, path = (
        network(Graph.collate([ones(g)])) for g in (two, nx.cycle_graph(6), nx.path_graph(6))
    )
    torch.testing.assert_close(triangles, hexagon)
    assert (triangles - path).abs().max() > 1e-3


def test_gin_by_hand():
    layer = GINConv(1, 1, torch.nn.Identity(), eps=0.5)
    graph = Graph(torch.tensor([[2.0], [3.0]]), torch.tensor([[0], [1]]))
    assert layer(graph.x, graph).flatten().tolist() == [3.0, 6.5]

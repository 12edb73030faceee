"""Laws of all layers; then what is each one's own."""

import math

import networkx as nx
import pytest
import torch
from tests.graphs.conftest import permuted, random_graph
from torch.autograd import gradcheck

from neurarium.data import Graph
from neurarium.graphs import (
    CayleyConv,
    ChebConv,
    GATConv,
    GINConv,
    GraphConv,
    MotifConv,
    RGCNConv,
    SAGEConv,
    SpectralConv,
    propagation,
)
from neurarium.graphs.propagate import features

LAYERS = {
    "sum": lambda: GraphConv(5, 3, "sum"),
    "sum+self": lambda: GraphConv(5, 3, "sum+self"),
    "row": lambda: GraphConv(5, 3, "row"),
    "renormalized": lambda: GraphConv(5, 3),
    "sage mean": lambda: SAGEConv(5, 3),
    "sage gcn": lambda: SAGEConv(5, 3, "gcn"),
    "sage pool": lambda: SAGEConv(5, 3, "pool", normalize=False),
    "gat": lambda: GATConv(5, 3, heads=2, dropout=0),
    "gat v2": lambda: GATConv(5, 3, heads=2, dropout=0, v2=True, concat=False),
    "rgcn": lambda: RGCNConv(5, 3, 2),
    "rgcn bases": lambda: RGCNConv(5, 3, 2, bases=3),
    "gin": lambda: GINConv(5, 3),
    "cheb": lambda: ChebConv(5, 3, K=3),
    "cheb wide": lambda: ChebConv(5, 7, K=4),
    "cayley": lambda: CayleyConv(5, 3, order=2),
    "cayley wide": lambda: CayleyConv(5, 7, order=2),
    "cayley jacobi": lambda: CayleyConv(5, 3, order=2, jacobi_steps=6),
    "motif": lambda: MotifConv(5, 3, order=2),
}


def typed(graph):
    kinds = torch.arange(graph.num_edges) % 2
    return graph.with_edges(graph.edge_index, edge_type=kinds)


@pytest.mark.parametrize("name", LAYERS)
def test_renumbering_nodes_renumbers_the_output(name):
    torch.manual_seed(0)
    graph = typed(random_graph(directed=True))
    layer = LAYERS[name]().double()
    order = torch.randperm(graph.num_nodes)
    moved = permuted(graph, order)
    torch.testing.assert_close(layer(moved.x, moved), layer(graph.x, graph)[order])


@pytest.mark.parametrize("name", LAYERS)
def test_graphs_side_by_side_do_not_touch(name):
    torch.manual_seed(0)
    graphs = [typed(random_graph(7, 0.4, seed=s, directed=True)) for s in (1, 2)]
    layer = LAYERS[name]().double()
    both = Graph.collate(graphs)
    apart = torch.cat([layer(g.x, g) for g in graphs])
    torch.testing.assert_close(layer(both.x, both), apart)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_right(name):
    torch.manual_seed(0)
    graph = typed(random_graph(6, 0.4, directed=True))
    layer = LAYERS[name]().double()
    x = graph.x.clone().requires_grad_()
    parameters = tuple(p for p in layer.parameters() if p.requires_grad)

    def run(x, *_):
        return layer(x, graph)

    assert gradcheck(run, (x, *parameters), atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_sparse_features_give_what_dense_ones_do(name):
    torch.manual_seed(0)
    graph = typed(random_graph(directed=True))
    x = graph.x * (graph.x > 0.3)
    sparse = Graph(x.to_sparse_csr(), graph.edge_index, edge_type=graph.edge_type)
    layer = LAYERS[name]().double()
    torch.testing.assert_close(layer(features(sparse), sparse), layer(x, graph))


@pytest.mark.parametrize("name", LAYERS)
def test_isolated_nodes_and_graphs_without_edges_give_numbers(name):
    none = torch.empty(2, 0, dtype=torch.long)
    graph = Graph(
        torch.randn(4, 5, dtype=torch.float64), none, edge_type=torch.empty(0, dtype=torch.long)
    )
    layer = LAYERS[name]().double()
    y = layer(graph.x, graph)
    assert torch.isfinite(y).all()
    y.sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in layer.parameters())


@pytest.mark.parametrize("name", ["sum", "renormalized", "sage mean", "gat", "cheb", "gin"])
def test_an_edge_index_serves_as_graph(name, graph):
    torch.manual_seed(0)
    layer = LAYERS[name]().double()
    torch.testing.assert_close(layer(graph.x, graph.edge_index), layer(graph.x, graph))


# Spectral filters: the output is the filter's function of the eigenvalues


def spectrum(graph):
    eigenvalues, basis = torch.linalg.eigh(propagation(graph, "laplacian").to_dense())
    return eigenvalues, basis


@pytest.mark.parametrize("K", [1, 2, 3, 5])
@pytest.mark.parametrize("out", [2, 9])
def test_cheb_is_its_polynomial_of_the_eigenvalues(K, out, graph):
    torch.manual_seed(0)
    layer = ChebConv(5, out, K).double()
    eigenvalues, basis = spectrum(graph)
    angle = torch.arccos((eigenvalues - 1).clamp(-1, 1))  # T_k(cos t) = cos(k t)
    expected = sum(
        basis @ torch.diag(torch.cos(k * angle)) @ basis.T @ graph.x @ theta
        for k, theta in enumerate(layer.theta)
    )
    torch.testing.assert_close(layer(graph.x, graph), expected + layer.bias)


@pytest.mark.parametrize("out", [2, 9])
def test_cayley_is_its_rational_function_of_the_eigenvalues(out, graph):
    torch.manual_seed(0)
    layer = CayleyConv(5, out, order=3, zoom=1.7).double()
    eigenvalues, basis = spectrum(graph)
    zoom = float(layer.log_zoom.detach().exp())
    assert zoom == pytest.approx(1.7)
    c = (zoom * eigenvalues - 1j) / (zoom * eigenvalues + 1j)
    torch.testing.assert_close(c.abs(), torch.ones_like(eigenvalues))
    expected = graph.x @ layer.coefficients[0]
    for j in range(1, 4):
        power = basis.to(c.dtype) @ torch.diag(c**j) @ basis.T.to(c.dtype) @ graph.x.to(c.dtype)
        weight = torch.complex(layer.coefficients[2 * j - 1], layer.coefficients[2 * j])
        expected = expected + 2 * (power @ weight).real
    torch.testing.assert_close(layer(graph.x, graph), expected + layer.bias)


def test_jacobi_error_falls_geometrically_to_the_exact_solution(graph):
    torch.manual_seed(0)
    exact = CayleyConv(5, 9, order=2).double()
    errors = []
    for steps in (5, 10, 20, 40):
        layer = CayleyConv(5, 9, order=2, jacobi_steps=steps).double()
        layer.load_state_dict(exact.state_dict())
        errors.append(float((layer(graph.x, graph) - exact(graph.x, graph)).norm().detach()))
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < 0.25 * errors[1]
    assert errors[3] < 0.05 * errors[2]


def test_motif_filter_is_a_polynomial_of_motif_laplacians(directed):
    from neurarium.graphs.motifs import motif_laplacians

    torch.manual_seed(0)
    layer = MotifConv(5, 3, order=2, motifs=("M5", "M8")).double()
    torch.nn.init.normal_(layer.preference)
    a, b = (laplacian.to_dense() for laplacian in motif_laplacians(directed, ("M5", "M8")))
    alpha = layer.preference.softmax(1)
    first = alpha[0, 0] * a + alpha[0, 1] * b
    second = (alpha[1, 0] * a + alpha[1, 1] * b) @ first
    x = directed.x
    expected = x @ layer.theta[0] + first @ x @ layer.theta[1] + second @ x @ layer.theta[2]
    torch.testing.assert_close(layer(x, directed), expected + layer.bias)


def test_spectral_with_a_spline_is_an_even_circular_convolution_on_a_ring():
    torch.manual_seed(0)
    n = 12
    numbers = torch.arange(n)
    ring = torch.cat(
        [torch.stack([numbers, (numbers + 1) % n]), torch.stack([(numbers + 1) % n, numbers])], 1
    )
    graph = Graph(torch.randn(n, 1, dtype=torch.float64), ring)
    layer = SpectralConv(graph, 1, 1, control_points=5)
    impulse = torch.zeros(n, 1, dtype=torch.float64)
    impulse[0] = 1
    kernel = layer(impulse)[:, 0] - layer.bias
    torch.testing.assert_close(kernel, kernel.flip(0).roll(1))  # even
    expected = torch.fft.ifft(torch.fft.fft(kernel) * torch.fft.fft(graph.x[:, 0])).real
    torch.testing.assert_close(layer(graph.x)[:, 0] - layer.bias, expected)


def test_spectral_with_a_filter_of_ones_is_the_identity(graph):
    layer = SpectralConv(graph, 5, 5)
    torch.nn.init.zeros_(layer.theta)
    with torch.no_grad():
        layer.theta[:, range(5), range(5)] = 1
    torch.testing.assert_close(layer(graph.x, graph), graph.x)


def test_spectral_refuses_another_graph(graph, unchecked):
    layer = SpectralConv(graph, 5, 2)
    with pytest.raises(ValueError, match="made for a graph of 12 nodes and knows no other"):
        layer(torch.zeros(7, 5, dtype=torch.float64))
    with pytest.raises(ValueError, match="undirected"):
        SpectralConv(random_graph(directed=True), 5, 2)


@pytest.mark.parametrize(
    ("make", "hops"),
    [
        (lambda: ChebConv(1, 1, K=1), 0),
        (lambda: ChebConv(1, 1, K=2), 1),
        (lambda: ChebConv(1, 1, K=4), 3),
        (lambda: GraphConv(1, 1), 1),
        (lambda: GATConv(1, 1, heads=1, dropout=0), 1),
        (lambda: SAGEConv(1, 1, normalize=False), 1),
        (lambda: GINConv(1, 1), 1),
    ],
)
def test_hop_counts_are_exact(make, hops):
    torch.manual_seed(1)
    path = Graph.from_networkx(nx.path_graph(9))
    x = torch.rand(9, 1, requires_grad=True)
    (gradient,) = torch.autograd.grad(make()(x, path)[4].sum(), x)
    reached = gradient[:, 0].abs() > 0
    assert not reached[(torch.arange(9) - 4).abs() > hops].any()
    if make()(x, path).requires_grad and hops != 1:  # at its rim the reach is used
        assert reached[4 - hops]
        assert reached[4 + hops]


# One by one


def test_graph_conv_by_hand():
    # Two nodes joined: every entry of the renormalized matrix is 1/2.
    graph = Graph(torch.tensor([[1.0], [3.0]]), torch.tensor([[0, 1], [1, 0]]))
    layer = GraphConv(1, 1)
    torch.nn.init.constant_(layer.weight, 2.0)
    torch.testing.assert_close(layer(graph.x, graph), torch.tensor([[4.0], [4.0]]))


def test_sage_mean_is_one_matrix_on_node_and_mean():
    # Node 2 hears 0 and 1: W [h_2; (h_0 + h_1) / 2].
    graph = Graph(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([[0, 1], [2, 2]]))
    layer = SAGEConv(1, 1, normalize=False)
    torch.nn.init.constant_(layer.own, 10.0)
    torch.nn.init.constant_(layer.neighbours, 1.0)
    assert layer(graph.x, graph).flatten().tolist() == [10.0, 30.0, 52.0]


def test_sage_lstm_reads_every_neighbour_once():
    torch.manual_seed(0)
    graph = random_graph(features=3, directed=True, dtype=torch.float32)
    layer = SAGEConv(3, 2, "lstm")
    y = layer(graph.x, graph)
    # With one neighbour at most the order does not matter, and the state is a single step's.
    single = Graph(graph.x, torch.tensor([[0, 4], [1, 2]]))
    state = layer.lstm(graph.x[[0]][:, None])[0][0, 0]
    lone = torch.nn.functional.normalize(
        state @ layer.neighbours + graph.x[1] @ layer.own + layer.bias, dim=0
    )
    torch.testing.assert_close(layer(graph.x, single)[1], lone)
    assert y.shape == (12, 2)


@pytest.mark.parametrize("sparse", [False, True])
def test_sage_lstm_is_its_loop_over_nodes_and_holds_a_row_for_each_edge(sparse):
    torch.manual_seed(0)
    star = torch.stack([torch.arange(1, 9), torch.zeros(8).long()])  # 8 neighbours, 1, 2, none
    edges = torch.cat([star, torch.tensor([[3, 4, 5], [1, 2, 2]])], 1)
    x = torch.randn(9, 3) * (torch.rand(9, 3) > 0.4)
    graph = Graph(x.to_sparse_csr() if sparse else x, edges)
    layer = SAGEConv(3, 2, "lstm", normalize=False)
    seen = []
    layer.lstm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].data))
    torch.manual_seed(1)
    y = layer(features(graph), graph)
    torch.manual_seed(1)
    source, target = edges[:, torch.randperm(11)]
    for node in range(9):
        turn = x[source[target == node]]
        state = layer.lstm(turn)[0][-1] if len(turn) else torch.zeros(3)
        expected = state @ layer.neighbours + x[node] @ layer.own + layer.bias
        torch.testing.assert_close(y[node], expected)
    assert seen[0].shape == (11, 3)


def test_attention_equals_the_dense_masked_softmax(directed):
    torch.manual_seed(0)
    layer = GATConv(5, 3, heads=2, dropout=0).double()
    mask = (directed.to_dense() + torch.eye(12)) > 0
    h = (directed.x @ layer.weight).view(12, 2, 3)
    outputs = []
    for k in range(2):
        source, target = h[:, k] @ layer.attend_source[k], h[:, k] @ layer.attend_target[k]
        scores = torch.nn.functional.leaky_relu(target[:, None] + source, 0.2)
        alpha = scores.masked_fill(~mask, -math.inf).softmax(1)
        outputs.append(alpha @ h[:, k])
    torch.testing.assert_close(layer(directed.x, directed), torch.cat(outputs, 1) + layer.bias)


def test_static_attention_prefers_the_same_neighbour_whoever_asks():
    """Brody et al.: the ranking of v1 cannot depend on the query, that of v2 can."""
    torch.manual_seed(0)
    n = 6
    queries, keys = torch.arange(n), torch.arange(n, 2 * n)
    edges = torch.cartesian_prod(keys, queries).T
    graph = Graph(torch.randn(2 * n, 8, dtype=torch.float64), edges)

    def preferred(v2):
        layer = GATConv(8, 32, heads=1, dropout=0, v2=v2).double()
        alpha = layer.attention(graph.x, graph)[: n * n, 0].view(n, n)  # keys by queries
        return {int(k) for k in alpha.argmax(0)}

    assert all(len(preferred(v2=False)) == 1 for _ in range(20))
    assert max(len(preferred(v2=True)) for _ in range(20)) > 1


def test_edge_weight_zero_takes_an_edge_away_from_attention(directed):
    torch.manual_seed(0)
    layer = GATConv(5, 3, dropout=0).double()
    weight = torch.ones(directed.num_edges, dtype=torch.float64)
    same = directed.with_edges(directed.edge_index, edge_weight=weight)
    torch.testing.assert_close(layer(same.x, same), layer(directed.x, directed))
    weight[3] = 0
    other = directed.with_edges(directed.edge_index, edge_weight=weight)
    changed = (layer(other.x, other) - layer(directed.x, directed)).abs().sum(1) > 0
    assert changed.nonzero().flatten().tolist() == [int(directed.edge_index[1, 3])]


def test_rgcn_of_one_relation_is_a_mean_with_a_part_of_its_own(directed):
    one = directed.with_edges(
        directed.edge_index, edge_type=torch.zeros(directed.num_edges, dtype=torch.long)
    )
    layer, sage = RGCNConv(5, 3, 1).double(), SAGEConv(5, 3, normalize=False).double()
    with torch.no_grad():
        sage.own.copy_(layer.root)
        sage.neighbours.copy_(layer.weight[0])
    torch.testing.assert_close(layer(one.x, one), sage(one.x, one))


def test_rgcn_blocks_are_diagonal():
    torch.manual_seed(0)
    layer = RGCNConv(4, 6, 3, blocks=2)
    matrices = layer.matrices()
    assert matrices.shape == (3, 4, 6)
    assert (matrices[:, :2, 3:] == 0).all()
    assert (matrices[:, 2:, :3] == 0).all()
    assert (matrices[:, :2, :3] != 0).all()


def test_rgcn_needs_types_it_knows(graph, unchecked):
    layer = RGCNConv(5, 3, 2).double()
    with pytest.raises(ValueError, match=r"needs graph\.edge_type"):
        layer(graph.x, graph)
    wrong = graph.with_edges(graph.edge_index, edge_type=torch.full((graph.num_edges,), 2))
    with pytest.raises(ValueError, match=r"edge_type must lie in 0 \.\.\. 1, got 2"):
        layer(wrong.x, wrong)
    with pytest.raises(ValueError, match="choose one of them"):
        RGCNConv(4, 4, 2, bases=1, blocks=2)

import networkx as nx
import pytest
import torch
from tests.graphs.conftest import random_graph
from torch.autograd import gradcheck, gradgradcheck

from neurarium.data import Graph
from neurarium.graphs import propagation, softmax, spread
from neurarium.graphs.propagate import at_sources, at_targets, features, times_weight
from neurarium.graphs.sparse import Sparse, drop, product

KINDS = ("sum", "sum+self", "row", "mean", "sym", "renormalized", "laplacian", "combinatorial")


def dense_of(kind, a):
    """The definitions, on a dense adjacency matrix."""
    eye = torch.eye(len(a), dtype=a.dtype)
    hat = a + eye

    def power(m, exponent):
        d = m.sum(1)
        return torch.where(d > 0, d, 1.0).pow(exponent) * (d > 0)

    both = {k: power(m, -0.5) for k, m in (("a", a), ("hat", hat))}
    sym = both["a"][:, None] * a * both["a"]
    return {
        "sum": a,
        "sum+self": hat,
        "row": power(hat, -1.0)[:, None] * hat,
        "mean": power(a, -1.0)[:, None] * a,
        "sym": sym,
        "renormalized": both["hat"][:, None] * hat * both["hat"],
        "laplacian": eye - sym,
        "scaled_laplacian": -sym,
        "combinatorial": torch.diag(a.sum(1)) - a,
    }[kind]


@pytest.mark.parametrize("kind", [*KINDS, "scaled_laplacian"])
@pytest.mark.parametrize("directed", [False, True])
def test_every_operator_is_its_definition_on_the_dense_matrix(kind, directed):
    graph = random_graph(directed=directed, p=0.12)  # some nodes have no edge
    expected = dense_of(kind, graph.to_dense())
    torch.testing.assert_close(propagation(graph, kind).to_dense(), expected)
    torch.testing.assert_close(propagation(graph, kind) @ graph.x, expected @ graph.x)


def test_adjacency_has_targets_in_rows():
    graph = Graph(torch.eye(3), torch.tensor([[0, 0], [1, 2]]))  # 0 -> 1, 0 -> 2
    assert graph.to_dense().tolist() == [[0, 0, 0], [1, 0, 0], [1, 0, 0]]


def test_edges_that_come_twice_count_twice_in_every_form():
    graph = Graph(torch.eye(2), torch.tensor([[0, 0], [1, 1]]))
    assert graph.to_dense()[1, 0] == propagation(graph, "sum").to_dense()[1, 0] == 2
    assert (propagation(graph, "sum") @ graph.x)[1, 0] == 2


def test_rows_of_the_row_rule_sum_to_one_and_constants_stay(graph):
    row = propagation(graph, "row")
    ones = torch.ones(graph.num_nodes, 1, dtype=torch.float64)
    torch.testing.assert_close(row @ ones, ones)


def test_renormalized_spectrum_lies_in_minus_one_to_one_with_one_per_component():
    a = random_graph(7, 0.6, seed=1)
    b = random_graph(6, 0.6, seed=2)
    both = Graph.collate([a, b])
    parts = nx.number_connected_components(nx.from_numpy_array(both.to_dense().numpy()))
    matrix = propagation(both, "renormalized").to_dense()
    eigenvalues = torch.linalg.eigvalsh(matrix)
    assert eigenvalues.min() > -1
    assert eigenvalues.max() <= 1 + 1e-12
    assert int((eigenvalues > 1 - 1e-9).sum()) == parts == 2
    root = (both.to_dense().sum(1) + 1).sqrt()[:, None]
    torch.testing.assert_close(matrix @ root, root)


def test_lambda_max_is_found_by_power_iteration(graph):
    largest = torch.linalg.eigvalsh(propagation(graph, "laplacian").to_dense()).max()
    scaled = torch.linalg.eigvalsh(
        propagation(graph, "scaled_laplacian", lambda_max=None).to_dense()
    )
    assert scaled.max() <= 1  # a hair below, so that Chebyshev polynomials stay small
    assert scaled.max() == pytest.approx(1, abs=0.03)
    assert scaled.min() == pytest.approx(-1)
    assert largest < 2


def test_product_has_right_gradients_of_first_and_second_order():
    structure = Sparse(torch.tensor([2, 0, 2, 1]), torch.tensor([1, 0, 0, 1]), (3, 2))
    values = torch.randn(4, dtype=torch.float64, requires_grad=True)
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda v, d: product(structure, v, d), (values, x))
    assert gradgradcheck(lambda v, d: product(structure, v, d), (values, x))


def test_product_without_mkl_is_the_same(monkeypatch, graph):
    expected = propagation(graph) @ graph.x
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    torch.testing.assert_close(propagation(graph) @ graph.x, expected)


def test_leading_axes_are_products_of_their_own(graph):
    x = torch.randn(4, 2, graph.num_nodes, 3, dtype=torch.float64)
    row = propagation(graph)
    y = row @ x
    torch.testing.assert_close(y[3, 1], row @ x[3, 1])


def test_gradient_reaches_edge_weights(graph):
    weight = torch.rand(graph.num_edges, dtype=torch.float64).requires_grad_()

    def out(w):
        given = graph.with_edges(graph.edge_index, edge_weight=w)
        return propagation(given, "renormalized") @ graph.x

    assert gradcheck(out, (weight,))


@pytest.mark.parametrize("how", ["sum", "mean", "max", "min"])
def test_spread_brings_edges_to_their_targets(how, directed):
    messages = torch.randn(directed.num_edges, 2, dtype=torch.float64)
    found = spread(directed, messages, how)
    for node in range(directed.num_nodes):
        own = messages[directed.edge_index[1] == node]
        if not len(own):
            expected = torch.zeros(2, dtype=torch.float64)
        elif how in ("sum", "mean"):
            expected = getattr(own, how)(0)
        else:
            expected = getattr(own, "a" + how)(0)
        torch.testing.assert_close(found[node], expected)


@pytest.mark.parametrize("how", ["sum", "mean", "max"])
def test_spread_and_its_ends_are_differentiable(how, directed):
    h = torch.randn(directed.num_nodes, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda v: spread(directed, at_sources(directed, v), how), (h,))
    assert gradcheck(lambda v: at_targets(directed, v), (h,))


def test_softmax_sums_to_one_per_target_and_survives_large_scores(directed):
    scores = 1e4 * torch.randn(directed.num_edges, 3, dtype=torch.float64)
    alpha = softmax(directed, scores)
    assert torch.isfinite(alpha).all()
    sums = spread(directed, alpha)
    reached = torch.bincount(directed.edge_index[1], minlength=directed.num_nodes) > 0
    torch.testing.assert_close(sums[reached], torch.ones_like(sums[reached]))


def test_sparse_features_give_what_dense_ones_do():
    x = torch.rand(5, 4) * (torch.rand(5, 4) > 0.5)
    edges = torch.tensor([[0, 1], [1, 0]])
    sparse = Graph(x.to_sparse_csr(), edges)
    weight = torch.randn(4, 3, requires_grad=True)
    y = times_weight(features(sparse), weight)
    torch.testing.assert_close(y, x @ weight)
    (gradient,) = torch.autograd.grad(y.square().sum(), weight)
    (expected,) = torch.autograd.grad((x @ weight).square().sum(), weight)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_from_raw_words_keeps_mean_and_share(p):
    torch.manual_seed(0)
    dropped = drop(torch.ones(400_001), p)
    share = float((dropped == 0).float().mean())
    assert share == pytest.approx(p, abs=4 * (p * (1 - p) / 400_001) ** 0.5)
    assert float(dropped.max()) == pytest.approx(1 / (1 - p), rel=1e-3)
    # Neighbouring entries, cut out of one word, are independent.
    zero = (dropped[:400_000] == 0).float().view(-1, 4)
    assert torch.corrcoef(zero.T).triu(1).abs().max() < 0.02


def test_dropout_drops_nothing_when_judging():
    x = torch.randn(10)
    assert drop(x, 0.5, training=False) is x
    assert drop(x, 0.0) is x


def test_negative_weights_are_refused_where_degrees_divide(unchecked):
    graph = Graph(torch.eye(2), torch.tensor([[0], [1]]), edge_weight=torch.tensor([-1.0]))
    with pytest.raises(ValueError, match=r"must not be negative, got -1; use operator='sum'"):
        propagation(graph, "row")
    assert propagation(graph, "sum").to_dense()[1, 0] == -1


def test_an_unknown_operator_lists_the_known(unchecked, graph):
    with pytest.raises(ValueError, match="one of sum, sum"):
        propagation(graph, "renormalised")


@pytest.mark.parametrize("kind", [*KINDS, "scaled_laplacian"])
def test_a_graph_without_edges_is_no_error(kind):
    graph = Graph(torch.eye(3), torch.empty(2, 0, dtype=torch.long))
    assert torch.isfinite(propagation(graph, kind) @ graph.x).all()


def test_deterministic_algorithms_suffice(graph):
    torch.use_deterministic_algorithms(True)
    try:
        from neurarium.graphs import GATConv, SAGEConv

        for conv in (GATConv(5, 3), SAGEConv(5, 3, "pool")):
            conv.double()(graph.x, graph).sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)


def test_products_ignore_autocast():
    graph = random_graph(dtype=torch.float32)
    x = torch.randn(12, 3, requires_grad=True)
    plain = propagation(graph) @ x
    with torch.autocast("cpu", torch.bfloat16):
        cast = propagation(graph) @ x
        half = propagation(graph) @ x.bfloat16()
    torch.testing.assert_close(cast, plain)
    torch.testing.assert_close(half, plain, atol=0.02, rtol=0.02)

"""The same weights give the same numbers as in PyTorch Geometric, where it has the layer."""

import warnings

import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its own imports warn
    try:
        from torch_geometric import nn as pyg
        from torch_geometric.data import Data as PyGData
    except ImportError:
        pytest.skip("PyTorch Geometric is not installed", allow_module_level=True)

from tests.graphs.conftest import random_graph

from neurarium.data import Graph, as_graph
from neurarium.graphs import (
    GAE,
    ChebConv,
    GATConv,
    GaussianMixtureConv,
    GINConv,
    GraphConv,
    RGCNConv,
    SAGEConv,
    pool,
    softmax,
)
from neurarium.graphs.autoencode import kl_to_standard

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def graph():
    torch.manual_seed(0)
    return random_graph(20, 0.2, directed=True)


def copy(pairs):
    with torch.no_grad():
        for theirs, ours in pairs:
            theirs.copy_(ours)


def same(theirs, ours):
    torch.testing.assert_close(theirs, ours, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("operator", "normalize"), [("renormalized", True), ("sum", False)])
def test_gcn(graph, operator, normalize):
    ours = GraphConv(5, 3, operator).double()
    theirs = pyg.GCNConv(5, 3, normalize=normalize, add_self_loops=normalize).double()
    copy([(theirs.lin.weight, ours.weight.T), (theirs.bias, ours.bias)])
    same(theirs(graph.x, graph.edge_index), ours(graph.x, graph))
    if normalize:
        weight = torch.rand(graph.num_edges, dtype=torch.float64)
        weighed = graph.with_edges(graph.edge_index, edge_weight=weight)
        same(theirs(graph.x, graph.edge_index, weight), ours(graph.x, weighed))


@pytest.mark.parametrize("K", [1, 2, 4])
def test_cheb(K):
    graph = random_graph(20, 0.2)
    ours, theirs = ChebConv(5, 3, K).double(), pyg.ChebConv(5, 3, K).double()
    copy([(lin.weight, theta.T) for lin, theta in zip(theirs.lins, ours.theta, strict=True)])
    copy([(theirs.bias, ours.bias)])
    same(theirs(graph.x, graph.edge_index), ours(graph.x, graph))


@pytest.mark.parametrize("normalize", [False, True])
def test_sage(graph, normalize):
    ours = SAGEConv(5, 3, normalize=normalize).double()
    theirs = pyg.SAGEConv(5, 3, normalize=normalize).double()
    copy([(theirs.lin_l.weight, ours.neighbours.T), (theirs.lin_l.bias, ours.bias)])
    copy([(theirs.lin_r.weight, ours.own.T)])
    same(theirs(graph.x, graph.edge_index), ours(graph.x, graph))


@pytest.mark.parametrize("concat", [False, True])
def test_gat(graph, concat):
    ours = GATConv(5, 3, heads=4, concat=concat, dropout=0).double()
    theirs = pyg.GATConv(5, 3, heads=4, concat=concat).double()
    copy([(theirs.lin.weight, ours.weight.T), (theirs.bias, ours.bias)])
    copy([(theirs.att_src[0], ours.attend_source), (theirs.att_dst[0], ours.attend_target)])
    same(theirs(graph.x, graph.edge_index), ours(graph.x, graph))


def test_gat_v2(graph):
    ours = GATConv(5, 3, heads=4, dropout=0, v2=True).double()
    theirs = pyg.GATv2Conv(5, 3, heads=4, bias=True).double()
    zero = torch.zeros_like(theirs.lin_l.bias)
    copy([(theirs.lin_l.weight, ours.weight.T), (theirs.lin_l.bias, zero)])
    copy([(theirs.lin_r.weight, ours.of_targets.T), (theirs.lin_r.bias, zero)])
    copy([(theirs.att[0], ours.attend_source), (theirs.bias, ours.bias)])
    same(theirs(graph.x, graph.edge_index), ours(graph.x, graph))


@pytest.mark.parametrize(("bases", "blocks"), [(None, None), (2, None)])
def test_rgcn(graph, bases, blocks):
    kinds = torch.arange(graph.num_edges) % 3
    typed = graph.with_edges(graph.edge_index, edge_type=kinds)
    ours = RGCNConv(5, 3, 3, bases=bases).double()
    theirs = pyg.RGCNConv(5, 3, 3, num_bases=bases).double()
    copy([(theirs.weight, ours.weight), (theirs.root, ours.root), (theirs.bias, ours.bias)])
    if bases:
        copy([(theirs.comp, ours.mixing)])
    same(theirs(graph.x, graph.edge_index, kinds), ours(typed.x, typed))


def test_gin(graph):
    ours = GINConv(5, 3, eps=0.3).double()
    theirs = pyg.GINConv(ours.network, eps=0.3).double()
    same(theirs(graph.x, graph.edge_index), ours(graph.x, graph))


def test_gaussian_mixture(graph):
    placed = graph.with_edges(
        graph.edge_index, edge_attr=torch.rand(graph.num_edges, 2, dtype=torch.float64)
    )
    ours = GaussianMixtureConv(5, 3, 2, kernels=4).double()
    theirs = pyg.GMMConv(5, 3, 2, 4, aggr="add").double()
    copy([(theirs.g, ours.theta.movedim(0, 1).flatten(1)), (theirs.mu, ours.mean)])
    copy([(theirs.sigma, ours.log_deviation.exp()), (theirs.bias, ours.bias)])
    copy([(theirs.root.weight, torch.zeros_like(theirs.root.weight))])
    same(theirs(graph.x, graph.edge_index, placed.edge_attr), ours(placed.x, placed))


def test_softmax_and_pools(graph):
    from torch_geometric.utils import softmax as theirs

    scores = torch.randn(graph.num_edges, 2, dtype=torch.float64)
    same(theirs(scores, graph.edge_index[1]), softmax(graph, scores))
    batch = torch.arange(20) // 6
    for how, function in (
        ("sum", pyg.global_add_pool),
        ("mean", pyg.global_mean_pool),
        ("max", pyg.global_max_pool),
    ):
        same(function(graph.x, batch), pool(graph.x, batch, how))


def test_auto_encoder(graph):
    z = torch.randn(20, 4, dtype=torch.float64)

    class Fixed(GAE):
        def encode(self, graph):
            return z

    logits = Fixed(5).double()(graph.asking(graph.edge_index.T))
    theirs = pyg.GAE(torch.nn.Identity())
    same(theirs.decode(z, graph.edge_index), logits.softmax(1)[:, 1])
    mean, log_deviation = torch.randn(2, 20, 4, dtype=torch.float64)
    kl = pyg.VGAE(torch.nn.Identity()).kl_loss(mean, log_deviation)
    same(kl, kl_to_standard(mean, log_deviation))


def test_its_data_is_taken(graph):
    found = PyGData(x=graph.x, edge_index=graph.edge_index, y=torch.zeros(20).long())
    taken = as_graph(found)
    assert isinstance(taken, Graph)
    same(taken.x, graph.x)

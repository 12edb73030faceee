"""Whole networks: what they are made of, saved and rebuilt; the counter-example."""

import pytest
import torch
from tests.graphs.conftest import permuted, random_graph

from neurarium import networks
from neurarium.data import Graph, molecule
from neurarium.data.molecules import ATOM_FEATURES
from neurarium.graphs import (
    GAE,
    GAT,
    GCN,
    GIN,
    VGAE,
    ConcatAdjacency,
    GraphNetwork,
    GraphSAGE,
    NeuralFingerprint,
    propagation,
)

MADE = {
    "GCN": lambda: GCN(5, 6, 3, layers=3, operator="row"),
    "GAT": lambda: GAT(5, 4, 3, heads=2, v2=True),
    "GraphSAGE": lambda: GraphSAGE(5, 6, 3, aggregate="pool"),
    "GraphNetwork": lambda: GraphNetwork(5, 6, 3, conv="ChebConv:K=2"),
    "ConcatAdjacency": lambda: ConcatAdjacency(5, 12, 6, 3),
    "GIN": lambda: GIN(5, 6, 3, layers=2),
    "GAE": lambda: GAE(5, 6, 3),
    "VGAE": lambda: VGAE(5, 6, 3),
}


@pytest.mark.parametrize("name", MADE)
def test_a_network_is_rebuilt_from_its_configuration(name):
    torch.manual_seed(0)
    graph = random_graph(dtype=torch.float32)
    model = MADE[name]().eval()
    again = networks.build(networks.config(model)).eval()
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again(graph), model(graph))


def test_the_gcn_is_its_formula(graph):
    torch.manual_seed(0)
    model = GCN(5, 4, 3).double().eval()
    p = propagation(graph).to_dense()
    first, second = model.convs
    hidden = (p @ graph.x @ first.weight + first.bias).relu()
    torch.testing.assert_close(model(graph), p @ hidden @ second.weight + second.bias)
    asked = torch.tensor([4, 0])
    torch.testing.assert_close(model(graph.asking(asked)), model(graph)[asked])
    torch.testing.assert_close(model(graph.x, graph.edge_index), model(graph))


def test_many_convolutions_smooth_all_nodes_into_one():
    graph = random_graph(20, 0.4, dtype=torch.float32)
    spreads = []
    for layers in (2, 32):
        torch.manual_seed(0)
        h = GCN(5, 16, 8, layers=layers, operator="row", activation="tanh").eval()(graph)
        spreads.append(float((h.std(0) / h.abs().mean(0)).mean().detach()))
    assert spreads[1] < 1e-3 * spreads[0]


def test_concatenation_sees_the_numbers_of_nodes_and_no_other_graph(unchecked):
    torch.manual_seed(0)
    graph = random_graph(dtype=torch.float32)
    model = ConcatAdjacency(5, 12, 6, 3).eval()
    order = torch.randperm(12)
    difference = (model(permuted(graph, order)) - model(graph)[order]).abs().max()
    assert difference > 0.01
    with pytest.raises(ValueError, match="made for 12 nodes, this graph has 7"):
        model(random_graph(7, dtype=torch.float32))


def test_a_single_chebyshev_term_ignores_the_edges():
    torch.manual_seed(0)
    graph = random_graph(dtype=torch.float32)
    model = GraphNetwork(5, 6, 3, conv="ChebConv:K=1").eval()
    none = Graph(graph.x, torch.empty(2, 0, dtype=torch.long))
    torch.testing.assert_close(model(none), model(graph))


@pytest.mark.parametrize("readout", ["sum", "mean", "max", "attention"])
def test_readouts_answer_once_for_each_graph(readout):
    torch.manual_seed(0)
    graphs = [random_graph(n, 0.5, seed=n, dtype=torch.float32) for n in (4, 6)]
    model = GraphNetwork(5, 6, 3, conv="GINConv", readout=readout).eval()
    together = model(Graph.collate(graphs))
    apart = torch.cat([model(Graph.collate([g])) for g in graphs])
    torch.testing.assert_close(together, apart)


def test_a_fingerprint_does_not_see_the_order_of_atoms():
    torch.manual_seed(0)
    model = NeuralFingerprint(ATOM_FEATURES, 8, 1, length=16, radius=2, batch_norm=False).eval()
    one, other = (Graph.collate([molecule(s)]) for s in ("CC(=O)Nc1ccccc1", "c1ccc(NC(C)=O)cc1"))
    torch.testing.assert_close(model(one), model(other))
    different = Graph.collate([molecule("CC(=O)Oc1ccccc1")])
    assert (model(one) - model(different)).abs() > 1e-4
    # Each atom writes a share of 1 at each depth.
    assert float(model.fingerprint(one).sum().detach()) == pytest.approx(10 * 3, rel=1e-5)


def test_a_fingerprint_layer_by_hand():
    # Ethanol's atoms by degree 1, 2, 1: own and neighbours' weights of the right degree.
    torch.manual_seed(0)
    model = NeuralFingerprint(ATOM_FEATURES, 4, 1, length=6, radius=1, batch_norm=False).eval()
    graph = Graph.collate([molecule("CCO")])
    bonds = {
        tuple(e): molecule("CCO").edge_attr[k]
        for k, e in enumerate(molecule("CCO").edge_index.T.tolist())
    }
    x, total = graph.x, model.write[0](graph.x).softmax(1).sum(0)
    for atom, neighbours in ((0, [1]), (1, [0, 2]), (2, [1])):
        around = sum(torch.cat([x[j], bonds[j, atom]]) for j in neighbours)
        r = (model.own[0](x[atom]) + around @ model.by_degree[0][len(neighbours)]).relu()
        total = total + model.write[1](r).softmax(0)
    torch.testing.assert_close(model.fingerprint(graph)[0], total)

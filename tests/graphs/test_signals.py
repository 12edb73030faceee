"""Many signals on one graph."""

from functools import partial

import networkx as nx
import pytest
import torch

from neurarium.data import Graph
from neurarium.graphs import GraphConv, SignalNetwork, SpectralConv


@pytest.fixture
def ring():
    return Graph.from_networkx(nx.cycle_graph(6))


@pytest.mark.parametrize("readout", ["flat", "mean"])
def test_each_signal_is_answered_as_if_it_were_alone_and_by_hand(ring, readout):
    torch.manual_seed(0)
    model = SignalNetwork(ring, 2, "GraphConv:operator=sum", hidden=3, readout=readout)
    x = torch.randn(4, 6)
    conv: GraphConv = model.convs[0]
    for row in range(4):
        h = (ring.to_dense() @ x[row, :, None] @ conv.weight + conv.bias).relu()
        seen = h.mean(0) if readout == "mean" else h.flatten()
        expected = model.out.weight @ seen + model.out.bias
        torch.testing.assert_close(model(x)[row], expected)


def test_only_the_mean_forgets_where(ring):
    torch.manual_seed(0)
    x = torch.randn(2, 6)
    moved = x.roll(1, 1)  # a ring looks the same after a step around it
    flat, mean = (SignalNetwork(ring, 2, "ChebConv:K=3", readout=how) for how in ("flat", "mean"))
    torch.testing.assert_close(mean(x), mean(moved))
    assert not torch.allclose(flat(x), flat(moved))


def test_layers_of_several_values_and_of_one_graphs_own_frequencies(ring):
    torch.manual_seed(0)
    make = partial(SpectralConv, ring, control_points=3)
    model = SignalNetwork(ring, 2, make, in_features=2, hidden=4, layers=2)
    x = torch.randn(5, 6, 2)
    torch.testing.assert_close(model(x), model(x.flatten(1)))
    assert [conv.theta.shape[1] for conv in model.convs] == [2, 4]


def test_a_signal_of_another_graph_is_refused(ring, unchecked):
    with pytest.raises(ValueError, match=r"1 values at each of 6 nodes, got shape \(7,\)"):
        SignalNetwork(ring, 2)(torch.zeros(3, 7))
    with pytest.raises(ValueError, match="readout must be flat or mean"):
        SignalNetwork(ring, 2, readout="max")

"""Sections on graphs."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from neurarium.data import Graph, node_data
from neurarium.graphs import GAT, GCN
from neurarium.learning import Backprop
from neurarium.report.facts import Facts
from neurarium.report.graphs import _heights, _mask, by_degree, corners, of_nodes, softened
from neurarium.training import fit


def communities(classes, each=20):
    """Nodes of one class are joined, in a ring with chords, and a few to the next class."""
    n = classes * each
    y = torch.arange(n) % classes
    edges = [(i, (i + step * classes) % n) for i in range(n) for step in (1, 3)]
    edges += [(i, i + 1) for i in range(0, n - 1, 7)]
    ends = torch.tensor(edges).T
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(0)) + 0.5 * y[:, None]
    return Graph(x, torch.cat([ends, ends.flip(0)], 1), y=y)


@pytest.mark.parametrize(("network", "classes"), [(GCN, 3), (GAT, 2)])
def test_a_run_on_nodes_shows_map_degrees_and_what_errors_rest_on(network, classes, unchecked):
    data = node_data(communities(classes), test_size=0.4)
    torch.manual_seed(0)
    rule = Backprop("adam", lr=0.01)
    run = fit(network(6, 8, classes), data, rule=rule, epochs=3, verbose=False)
    facts = Facts(run, ["test"])
    page = of_nodes(facts)
    main = facts.main
    wrong = int((main.predicted != main.target).sum())
    assert wrong
    assert f"map of {len(main)} nodes, {wrong} of them answered wrongly" in page
    assert ("The higher, the more neighbours" in page) == (classes == 2)
    assert "What the surest wrong answers rest on" in page
    assert ("Edges with the most attention" in page) == (network is GAT)


def test_classes_that_are_confused_stand_side_by_side():
    logits = np.log([[0.6, 0.05, 0.3, 0.05], [0.05, 0.6, 0.05, 0.3], [0.3, 0.05, 0.6, 0.05]] * 5)
    around = corners(logits)
    np.testing.assert_allclose(np.linalg.norm(around, axis=1), 1)
    apart = np.linalg.norm(around[:, None] - around, axis=-1)
    assert apart[0, 2] == pytest.approx(2**0.5)  # neighbours on a circle of four
    assert apart[1, 3] == pytest.approx(2**0.5)


def test_a_sure_network_is_softened_until_its_choices_differ():
    chance = softened(np.log([[0.999, 0.0009, 0.0001], [0.0009, 0.999, 0.0001]]))
    np.testing.assert_allclose(chance.sum(1), 1)
    assert chance[0, 0] / chance[0, 1] == pytest.approx(np.e)


def test_heights_follow_the_degree():
    heights = _heights(np.array([1, 8, 1, 64]))
    assert max(heights[[0, 2]]) < heights[1] < heights[3] == 1
    assert heights.min() == -1


def test_accuracy_by_degree_by_hand(unchecked):
    # Node 0 hears from 1 and 2, node 1 from 0, nodes 2 and 3 from nobody.
    graph = Graph(torch.zeros(4, 1), torch.tensor([[1, 2, 0], [0, 0, 1]]))
    main = SimpleNamespace(
        inputs=torch.tensor([3, 0, 1, 2]),
        predicted=np.array([1, 1, 1, 0]),
        target=np.array([1, 1, 0, 1]),
    )
    page = by_degree(SimpleNamespace(task="multiclass"), main, graph)
    cells = [cell.split("<")[0].replace("\xa0", " ") for cell in page.split("<td>")[1:]]
    assert cells == ["2", "50.0 %", "1", "0.0 %", "1", "100.0 %"]


def test_the_edges_of_an_explanation_bear_the_graphs_own_numbers():
    # Of node 7 only the edge from 4 can matter: 4 alone has a feature.
    x = torch.zeros(9, 1)
    x[4] = 5.0
    graph = Graph(x, torch.tensor([[4, 2, 3, 6], [7, 7, 7, 1]]))
    model = GCN(1, 4, 2, layers=1, operator="sum")
    with torch.no_grad():
        model.convs[0].weight.copy_(torch.tensor([[-1.0, 1.0]]))
        model.convs[0].bias.copy_(torch.tensor([2.0, -2.0]))
    assert _mask(model, graph, 7, 2)[0] == (4, 7)

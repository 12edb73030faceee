"""Dynamics on graphs: simulated, learned and judged."""

import math

import networkx as nx
import pytest
import torch
from tests.graphs.conftest import random_graph

from neurarium.data import Graph, simulate_contagion, transition_probabilities
from neurarium.graphs import (
    ContagionGNN,
    TransitionLoss,
    propagation,
    rare_state_weights,
)

# Contagion


def test_simulated_infection_has_its_rate_for_every_number_of_neighbours():
    graph = Graph.from_networkx(nx.barabasi_albert_graph(200, 3, seed=0))
    before, after = simulate_contagion(graph, "simple", 400, seed=0)
    count = torch.stack([propagation(graph, "sum") @ s[:, None].float() for s in before])[..., 0]
    for neighbours in (0, 1, 2, 4):
        here = (before == 0) & (count.round() == neighbours)
        rate = 1 - 0.96**neighbours
        share = float((after[here] == 1).double().mean())
        assert abs(share - rate) <= 4 * (rate * (1 - rate) / int(here.sum())) ** 0.5 + 1e-12
    stayed = float((after[before == 1] == 1).double().mean())
    assert stayed == pytest.approx(0.92, abs=0.01)


def star(infected, kind):
    """A susceptible node with so many infected neighbours."""
    n = infected + 1
    graph = Graph(torch.zeros(n, 1), torch.stack([torch.arange(1, n), torch.zeros(n - 1).long()]))
    return transition_probabilities(graph, (torch.arange(n) > 0).long(), kind)[0]


def test_complex_contagion_is_largest_in_the_middle():
    rates = torch.stack([star(count, "complex")[1] for count in range(1, 60)])
    assert rates.max() == pytest.approx(1, abs=1e-3)
    assert int(rates.argmax()) + 1 == 17  # 2.8214 * 6 = 16.93
    count = 5
    expected = count**3 / (1.4214 * 6**3 * (math.exp(count / 6) - 1))
    assert rates[4] == pytest.approx(expected, rel=1e-4)


def test_interacting_diseases_help_each_other():
    # Node 0 hears one neighbour with disease 1; it carries disease 2, or nothing.
    graph = Graph(torch.zeros(2, 1), torch.tensor([[1], [0]]))
    alone = transition_probabilities(graph, torch.tensor([0, 1]), "interacting")[0]
    helped = transition_probabilities(graph, torch.tensor([2, 1]), "interacting")[0]
    assert alone.tolist() == pytest.approx([0.99, 0.01, 0, 0])
    assert helped.tolist() == pytest.approx([0.5 * 0.22, 0.5 * 0.22, 0.5 * 0.78, 0.5 * 0.78])


def test_metapopulation_keeps_everybody():
    graph = Graph.from_networkx(nx.path_graph(4))
    _, after = simulate_contagion(graph, "metapopulation", 50, seed=1)
    torch.testing.assert_close(after.sum(2), torch.ones(50, 4, dtype=torch.float64))
    assert (after >= 0).all()


def test_a_sigmoid_gate_can_count_and_a_softmax_cannot():
    torch.manual_seed(0)
    outputs = {}
    for gate in ("sigmoid", "softmax"):
        model = ContagionGNN(gate=gate).double()
        answers = []
        for count in (1, 5):
            n = count + 1
            graph = Graph(
                torch.zeros(n, 1), torch.stack([torch.arange(1, n), torch.zeros(n - 1).long()])
            )
            answers.append(model((torch.arange(n) > 0).long(), graph)[0])
        outputs[gate] = (answers[0] - answers[1]).abs().max()
    assert outputs["softmax"] < 1e-12 < 1e-3 < outputs["sigmoid"]


def test_rare_situations_weigh_by_their_frequency():
    graph = Graph(torch.zeros(2, 1), torch.tensor([[0, 1], [1, 0]]))
    states = torch.tensor([[0, 0], [0, 0], [0, 1]])  # (0, l=0) four times, (0, 1), (1, 0) once
    weight = rare_state_weights(graph, states)
    expected = torch.tensor([[0.5, 0.5], [0.5, 0.5], [1.0, 1.0]])
    torch.testing.assert_close(weight, expected / expected.mean())


def test_transition_loss_is_a_weighted_mean():
    torch.manual_seed(0)
    graph = random_graph()
    model = ContagionGNN()
    before, after = simulate_contagion(graph, "simple", 3)
    weight = torch.rand(3, 12)
    found = TransitionLoss(graph)(model, {"input": before, "target": after, "weight": weight})
    steps = torch.stack([model(s, graph) for s in before]).log_softmax(-1)
    chosen = steps.gather(2, after[..., None])[..., 0]
    torch.testing.assert_close(found, -(weight * chosen).sum() / weight.sum())

"""Nodes as points: the Poincare ball, walks."""

import math

import networkx as nx
import pytest
import torch
from torch.autograd import gradcheck

from neurarium.data import Graph
from neurarium.graphs import (
    NodesOfWalks,
    PoincareEmbedding,
    RiemannianSGD,
    poincare_distance,
    propagation,
    random_walks,
)
from neurarium.graphs.embed import lorentz_distance, to_ball, to_hyperboloid

# Embeddings


def ball(*shape):
    x = torch.randn(*shape, dtype=torch.float64)
    return x / (x.norm(dim=-1, keepdim=True) + 0.5)


def test_poincare_distance_by_hand_and_as_a_metric():
    # From the middle: 2 artanh r.
    u = torch.tensor([0.5, 0.0], dtype=torch.float64)
    torch.testing.assert_close(
        poincare_distance(u, 0 * u), torch.tensor(2 * math.atanh(0.5)).double()
    )
    torch.manual_seed(0)
    a, b, c = ball(3, 200, 3)
    ab, bc, ac = (poincare_distance(*p) for p in ((a, b), (b, c), (a, c)))
    torch.testing.assert_close(ab, poincare_distance(b, a))
    assert (ac <= ab + bc + 1e-12).all()
    assert poincare_distance(a, a).max() < 1e-10


def test_poincare_gradient_is_right_and_finite_where_points_coincide():
    torch.manual_seed(0)
    a, b = (p.requires_grad_() for p in ball(2, 4, 3))
    assert gradcheck(poincare_distance, (a, b))
    same = ball(4, 3).requires_grad_()
    (slope,) = torch.autograd.grad(poincare_distance(same, same.detach().clone()).sum(), same)
    assert torch.isfinite(slope).all()


def test_ball_and_hyperboloid_are_isometric():
    torch.manual_seed(0)
    a, b = ball(2, 50, 3)
    torch.testing.assert_close(to_ball(to_hyperboloid(a)), a)
    torch.testing.assert_close(
        lorentz_distance(to_hyperboloid(a), to_hyperboloid(b)), poincare_distance(a, b)
    )


def test_the_exact_step_goes_as_far_as_its_velocity_says():
    torch.manual_seed(0)
    point = torch.nn.Parameter(ball(5, 2) * 0.7)
    before = point.detach().clone()
    point.grad = torch.randn_like(point)
    inside = 1 - before.square().sum(1)
    # |velocity| in the metric 2 / (1 - |x|^2), of the Riemannian gradient times the rate.
    length = 0.01 * inside / 2 * point.grad.norm(dim=1)
    RiemannianSGD([point], lr=0.01, exact=True).step()
    torch.testing.assert_close(poincare_distance(before, point.detach()), length)


def test_riemannian_steps_stay_in_the_ball():
    point = torch.nn.Parameter(torch.tensor([[0.9, 0.0]], dtype=torch.float64))
    point.grad = torch.tensor([[-1e6, 0.0]], dtype=torch.float64)
    RiemannianSGD([point], lr=1.0).step()
    assert float(point.detach().norm()) == pytest.approx(1 - 1e-5)


def test_poincare_loss_is_minus_the_log_of_the_true_share():
    torch.manual_seed(0)
    model = PoincareEmbedding(4)
    with torch.no_grad():
        model.points.copy_(ball(4, 2))
    rows = torch.tensor([[0, 1, 2, 3]])
    distances = [poincare_distance(model.points[0], model.points[i]) for i in (1, 2, 3)]
    shares = torch.stack(distances).neg().exp()
    expected = -(shares[0] / shares.sum()).log()
    torch.testing.assert_close(PoincareEmbedding.loss(model, {"input": rows}), expected)


def test_plain_walks_follow_the_row_normalized_adjacency():
    graph = Graph.from_networkx(nx.karate_club_graph())
    steps = random_walks(graph, 2, walks=1000)
    count = torch.zeros(34, 34).index_put(tuple(steps.T), torch.ones(len(steps)), accumulate=True)
    chance = propagation(graph, "mean").to_dense()
    expected = 1000 * chance
    allowed = expected > 0
    assert not count[~allowed].any()
    chi = ((count - expected)[allowed].square() / expected[allowed]).sum()
    freedom = int(allowed.sum()) - 34
    assert abs(chi - freedom) < 4 * (2 * freedom) ** 0.5


def test_p_and_q_set_the_odds_of_a_second_step():
    # From 0 to 1; then back to 0 (1/p), to 2, a neighbour of 0 too (1), or away to 3 (1/q).
    edges = torch.tensor([[0, 1, 0, 2, 1, 2, 1, 3], [1, 0, 2, 0, 2, 1, 3, 1]])
    steps = random_walks(Graph(torch.eye(4), edges), 3, p=4.0, q=0.5, walks=3000, seed=1)
    onward = steps[(steps[:, 0] == 0) & (steps[:, 1] == 1), 2]
    odds = torch.bincount(onward, minlength=4)[[0, 2, 3]] / len(onward)
    expected = torch.tensor([0.25, 1.0, 2.0]) / 3.25
    assert (odds - expected).abs().max() < 0.05


def test_nodes_of_walks_by_hand(unchecked):
    # A path 0 - 1 and two nodes apart: the only pairs are (0, 1) and (1, 0); degrees 1, 1, 0, 0
    # leave 0 and 1 as the only negatives.
    graph = Graph(torch.zeros(4, 1), torch.tensor([[0, 1], [1, 0]]))
    objective = NodesOfWalks(graph, length=3, walks=2, pairs=4000, negatives=2)
    assert {tuple(pair) for pair in objective.pairs.tolist()} == {(0, 1), (1, 0)}
    z = torch.tensor([[1.0, 0.5], [2.0, -1.0], [9.0, 9.0], [9.0, 9.0]])
    torch.manual_seed(0)
    found = float(
        objective(lambda graph: graph.answers(z), {"input": graph.asking(torch.tensor([0]))})
    )
    near, own = 1.5, (1.25, 5.0)  # products of the two, and of each with itself

    def cost(product):
        return math.log1p(math.exp(-product))

    # u is 0 or 1, each negative likewise, all with equal chances.
    expected = cost(near) + 2 * (cost(-near) / 2 + (cost(-own[0]) + cost(-own[1])) / 4)
    assert found == pytest.approx(expected, rel=0.03)


def test_walks_alone_tell_communities_apart(unchecked):
    from neurarium.data import Data
    from neurarium.data.from_graph import AllRows, Nodes
    from neurarium.graphs import GraphSAGE
    from neurarium.learning import Backprop
    from neurarium.training import fit

    made = nx.stochastic_block_model([15, 15], [[0.5, 0.03], [0.03, 0.5]], seed=0)
    graph = Graph(torch.eye(30), Graph.from_networkx(made).edge_index)
    data = Data(AllRows({"input": torch.arange(30)}), transform=Nodes(graph))
    torch.manual_seed(0)
    model = GraphSAGE(30, 8, 2, dropout=0.0)
    rule = Backprop("adam", lr=0.02)
    fit(model, data, NodesOfWalks(graph, negatives=2), rule, epochs=60, verbose=False)
    z = torch.nn.functional.normalize(model.eval()(graph).detach())
    like = z @ z.T
    same = torch.arange(30)[:, None] // 15 == torch.arange(30) // 15
    assert float(like[same].mean() - like[~same].mean()) > 1.5


def test_walks_need_edges(unchecked):
    with pytest.raises(ValueError, match="no walk leaves its first node"):
        NodesOfWalks(Graph(torch.eye(2), torch.empty(2, 0, dtype=torch.long)))

"""What is built on the layers: coordinates, samples, codes, embeddings, completion, ..."""

import math

import networkx as nx
import numpy as np
import pytest
import torch
from tests.graphs.conftest import random_graph

from neurarium.data import Graph, edge_data
from neurarium.explain.graph_mask import graph_mask
from neurarium.graphs import (
    ARGA,
    GAE,
    GCN,
    VGAE,
    ClusterLoader,
    GaussianMixtureConv,
    GraphConv,
    GraphSAGE,
    LayerSampler,
    MultiGraphCompletion,
    NeighborLoader,
    OntologyAttention,
    Reconstruction,
    VisitPredictor,
    cotangent_laplacian,
    degree_coordinates,
    dirichlet_energy,
    element_curvatures,
    nearest_neighbours,
    propagation,
    sample_subgraph,
    surface_curvatures,
    text_graph,
)
from neurarium.graphs.autoencode import kl_to_standard
from neurarium.graphs.ontology import ancestors

# Coordinates and meshes


def test_mixture_with_products_of_degree_coordinates_is_the_gcn(graph):
    torch.manual_seed(0)
    gcn = GraphConv(5, 3).double()
    mixture = GaussianMixtureConv(5, 3, kernels=1, weight=lambda u: u[:, :1] * u[:, 1:]).double()
    with torch.no_grad():
        mixture.theta[0].copy_(gcn.weight)
    placed = degree_coordinates(graph)
    torch.testing.assert_close(mixture(placed.x, placed), gcn(graph.x, graph))


def test_mixture_weighs_neighbours_by_its_gaussians():
    graph = Graph(torch.tensor([[2.0], [3.0], [0.0]]).double(), torch.tensor([[0, 1], [2, 2]]))
    placed = graph.with_edges(graph.edge_index, edge_attr=torch.tensor([[0.0], [1.0]]).double())
    layer = GaussianMixtureConv(1, 1, dim=1, kernels=2).double()
    with torch.no_grad():
        layer.theta.copy_(torch.tensor([[[1.0]], [[10.0]]]))
        layer.mean.copy_(torch.tensor([[0.0], [3.0]]))
        layer.log_deviation.copy_(torch.tensor([[0.0], [math.log(2)]]))
    first = 2 + 3 * math.exp(-1 / 2)  # at distances 0 and 1 of the first mean
    second = 2 * math.exp(-9 / 8) + 3 * math.exp(-4 / 8)
    expected = torch.tensor([0, 0, first + 10 * second]).double()
    torch.testing.assert_close(layer(placed.x, placed)[:, 0], expected)


def icosphere(times):
    golden = (1 + 5**0.5) / 2
    vertices = [(-1, golden, 0), (1, golden, 0), (-1, -golden, 0), (1, -golden, 0)]
    vertices = vertices + [(z, x, y) for x, y, z in vertices] + [(y, z, x) for x, y, z in vertices]
    from scipy.spatial import ConvexHull

    points = np.array(vertices, float)
    for _ in range(times + 1):
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        faces = ConvexHull(points).simplices
        middles = {tuple(sorted(e)) for f in faces for e in zip(f, np.roll(f, 1), strict=True)}
        last, points = points, np.concatenate([points, [points[list(e)].mean(0) for e in middles]])
    return torch.from_numpy(last), torch.from_numpy(faces).long()


def test_cotangent_laplacian_has_the_spectrum_of_the_sphere():
    vertices, faces = icosphere(2)
    found = torch.linalg.eigvals(cotangent_laplacian(vertices, faces)).real.sort().values
    expected = torch.tensor([k * (k + 1) for k in range(4) for _ in range(2 * k + 1)]).double()
    torch.testing.assert_close(found[:16], expected, atol=0.01, rtol=0.06)


# Samples


@pytest.mark.parametrize("aggregate", ["mean", "gcn", "pool"])
def test_sampling_all_neighbours_is_the_whole_graph(aggregate):
    torch.manual_seed(0)
    graph = random_graph(40, 0.08, directed=True)
    network = GraphSAGE(5, 6, 3, aggregate=aggregate).double().eval()
    asked = torch.tensor([3, 17, 8])
    block = sample_subgraph(graph, asked, (-1, -1))
    assert block.num_nodes < graph.num_nodes
    torch.testing.assert_close(network(block), network(graph)[asked])


def test_a_gcn_needs_one_hop_more_for_the_degrees_of_sources():
    torch.manual_seed(0)
    graph = random_graph(40, 0.06)
    network = GCN(5, 6, 3).double().eval()
    asked = torch.tensor([3, 17])
    torch.testing.assert_close(
        network(sample_subgraph(graph, asked, (-1, -1, -1))), network(graph)[asked]
    )


def test_drawn_neighbours_are_different_neighbours_and_uniform():
    graph = Graph(torch.zeros(9, 1), torch.stack([torch.arange(1, 9), torch.zeros(8).long()]))
    loader = NeighborLoader(graph, (3,), nodes=torch.tensor([0]))
    torch.manual_seed(0)
    for _ in range(20):
        block = loader.sample(torch.tensor([0]))
        assert block.num_edges == 3
        assert block.num_nodes == 4  # three different ones, and the node itself
    seeds = range(600)
    picks = np.concatenate(
        [
            loader.neighbours.around(np.array([0]), (3,), np.random.default_rng(seed))[2]
            for seed in seeds
        ]
    )
    times = np.bincount(picks, minlength=8)
    assert abs(times - 225).max() < 5 * (600 * 3 / 8 * 5 / 8) ** 0.5


def test_the_loader_asks_about_every_node_once_and_trains_through_fit(unchecked):
    from neurarium.data import Data, node_data
    from neurarium.learning import Backprop
    from neurarium.training import fit

    torch.manual_seed(0)
    graph = random_graph(60, 0.1, dtype=torch.float32)
    y = (graph.x[:, 0] > 0).long()
    graph = Graph(graph.x, graph.edge_index, y=y, train_mask=torch.arange(60) < 40)
    loader = NeighborLoader(graph, (4, 3), batch_size=16)
    batches = list(loader)
    assert len(loader) == len(batches) == 3
    assert sum(len(b["input"]) for b in batches) == 40
    whole = node_data(graph)
    data = Data(loader, whole.train, task="binary", classes=["a", "b"], transform=whole.transform)
    run = fit(
        GraphSAGE(5, 16, 2, dropout=0.0), data, rule=Backprop("adam", lr=0.02), epochs=30,
        verbose=False,
    )  # fmt: skip
    assert run.evaluate("val")["accuracy"] > 0.85


def test_bad_fanouts_are_named(unchecked, graph):
    with pytest.raises(ValueError, match="positive number, or -1 for all"):
        NeighborLoader(graph, (0,), nodes=torch.arange(3))
    with pytest.raises(ValueError, match="there is no train_mask"):
        NeighborLoader(graph)


def test_bags_of_words_stay_sparse_in_a_sample():
    torch.manual_seed(0)
    graph = random_graph(40, 0.08)
    words = graph.x * (graph.x > 0.5)
    words[3] = 0
    bags = Graph(words.to_sparse_csr(), graph.edge_index)
    asked = torch.tensor([3, 17, 8])
    block = sample_subgraph(bags, asked, (-1, -1))
    assert block.x.is_sparse_csr
    assert torch.equal(block.x.to_dense()[:3], words[asked])
    network = GraphSAGE(5, 6, 3).double().eval()
    torch.testing.assert_close(network(block), network(bags)[asked])


def two_cliques():
    one = torch.combinations(torch.arange(5)).T
    other = one + 5
    bridge = torch.tensor([[4], [5]])
    edges = torch.cat([one, other, bridge], 1)
    order = torch.tensor([7, 2, 9, 0, 4, 1, 8, 3, 6, 5])  # nodes of a clique are not in a row
    edges = order[torch.cat([edges, edges.flip(0)], 1)]
    weight = torch.arange(1.0, edges.shape[1] + 1)
    return Graph(torch.eye(10), edges, edge_weight=weight, y=torch.arange(10)), order


def test_clusters_hold_every_edge_inside_and_none_out():
    graph, order = two_cliques()
    loader = ClusterLoader(graph, 2, 1, nodes=torch.tensor([0, 1, 2]))
    found = {frozenset(cluster.tolist()) for cluster in loader.clusters}
    assert found == {frozenset(order[:5].tolist()), frozenset(order[5:].tolist())}
    asked = []
    for batch in loader:
        block = batch["input"]
        assert block.num_nodes == 5
        assert block.num_edges == 20  # a clique, and not the bridge
        own = block.x.argmax(1)  # the numbers that its nodes had
        dense = graph.to_dense()[own][:, own]
        torch.testing.assert_close(block.to_dense(), dense)
        assert torch.equal(own[block.nodes], batch["target"])
        asked += batch["target"].tolist()
    assert sorted(asked) == [0, 1, 2]


def test_all_clusters_together_are_the_whole_graph():
    torch.manual_seed(0)
    graph = random_graph(30, 0.15, directed=True)
    (batch,) = ClusterLoader(graph, 6, 6, nodes=torch.arange(30))
    network = GCN(5, 6, 3).double().eval()
    torch.testing.assert_close(network(batch["input"]), network(graph))
    drawn = ClusterLoader(graph, 6, 2, nodes=torch.arange(30))
    assert len(drawn) == len(list(drawn)) == 3
    with pytest.raises(ValueError, match="per_batch"):
        ClusterLoader(graph, 2, 3, nodes=torch.arange(30))


def test_layer_sampling_is_unbiased(graph):
    torch.manual_seed(0)
    matrix = propagation(graph)
    sampler = LayerSampler(matrix, samples=6)
    runs = torch.stack([sampler.sample()[1] @ graph.x for _ in range(500)])
    error = (runs.mean(0) - matrix @ graph.x).abs()
    assert (error <= 5 * runs.std(0) / 500**0.5 + 1e-12).all()
    nodes, drawn = sampler.sample()
    columns = drawn.to_dense().abs().sum(0) > 0
    assert set(columns.nonzero().flatten().tolist()) <= set(nodes.tolist())


# Auto-encoders


def test_reconstruction_is_its_dense_formula(graph):
    torch.manual_seed(0)
    z = torch.randn(12, 4, dtype=torch.float64)
    a = graph.to_dense()
    n, e = 12, float(a.sum())
    target = a + torch.eye(12)
    p = (z @ z.T).sigmoid()
    terms = -((n * n - e) / e * target * p.log() + (1 - target) * (1 - p).log())
    expected = n * n / (2 * (n * n - e)) * terms.mean()
    torch.testing.assert_close(Reconstruction().of_codes(z, graph), expected)


def test_kl_is_zero_at_the_prior_and_that_of_gaussians_elsewhere():
    zero = torch.zeros(3, 2, dtype=torch.float64)
    assert kl_to_standard(zero, zero) == 0
    mean, log_deviation = torch.randn(2, 3, 2, dtype=torch.float64)
    q = torch.distributions.Normal(mean, log_deviation.exp())
    p = torch.distributions.Normal(zero, zero + 1)
    expected = torch.distributions.kl_divergence(q, p).sum(1).mean()
    torch.testing.assert_close(kl_to_standard(mean, log_deviation), expected)


@pytest.mark.parametrize("kind", [GAE, VGAE])
def test_auto_encoders_tell_edges_from_none(kind, unchecked):
    from neurarium.learning import Backprop
    from neurarium.training import fit

    torch.manual_seed(0)
    blocks = nx.stochastic_block_model([25] * 4, (0.02 + 0.5 * np.eye(4)).tolist(), seed=0)
    data = edge_data(Graph.from_networkx(nx.Graph(blocks.edges)), seed=0)
    model = kind(100, 16, 8)
    run = fit(model, data, Reconstruction(), Backprop("adam", lr=0.02), epochs=100, verbose=False)
    assert run.evaluate("test")["roc_auc"] > 0.8


def test_edges_hidden_for_judging_are_not_in_the_graph():
    graph = random_graph(20, 0.3)
    data = edge_data(graph, test_size=0.2, val_size=0.1)
    seen = set(map(tuple, data.transform.graph.edge_index.T.tolist()))
    for split in (data.val, data.test):
        for (a, b), y in zip(
            split.tensors["input"].tolist(), split.tensors["target"].tolist(), strict=True
        ):
            assert (a, b) not in seen
            assert (b, a) not in seen
            assert bool(graph.to_dense()[a, b]) == bool(y)
    pairs = torch.cat([s.tensors["input"] for s in (data.train, data.val, data.test)])
    assert len(pairs.unique(dim=0)) == len(pairs)


def test_with_an_undecided_opponent_the_adversarial_auto_encoder_is_the_plain_one(graph):
    torch.manual_seed(0)
    graph = random_graph(dtype=torch.float32)
    model, objective = GAE(5, 8, 4), ARGA(4, (8,), 1.0)
    for parameter in objective.discriminator.parameters():
        torch.nn.init.zeros_(parameter)
    batch = {"input": graph, "target": torch.zeros(12)}
    parts = objective(model, batch)
    plain = Reconstruction()(model, batch)
    torch.testing.assert_close(parts["reconstruction"], plain["reconstruction"])
    torch.testing.assert_close(parts["generator"], torch.tensor(math.log(2)))
    torch.testing.assert_close(parts["discriminator"], torch.tensor(2 * math.log(2)))
    encoder = list(model.parameters())
    for a, b in zip(
        torch.autograd.grad(parts["loss"], encoder),
        torch.autograd.grad(plain["loss"], encoder),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_opponent_and_encoder_get_each_their_own_gradient():
    torch.manual_seed(0)
    graph = random_graph(dtype=torch.float32)
    model, objective = GAE(5, 8, 4), ARGA(4, (8,), 1.0)
    parts = objective(model, {"input": graph})
    parts["loss"].backward()
    own = [p.grad.clone() for p in objective.discriminator.parameters()]
    objective.zero_grad()
    z = model.encode(graph).detach()
    assert all(p.requires_grad for p in objective.discriminator.parameters())
    torch.manual_seed(0)
    random_graph(dtype=torch.float32), GAE(5, 8, 4), ARGA(4, (8,), 1.0)  # the same draws once more
    real = torch.randn_like(z)
    told = torch.nn.functional.logsigmoid(objective.discriminator(real)).mean()
    told = told + torch.nn.functional.logsigmoid(-objective.discriminator(z)).mean()
    (-told).backward()
    for a, p in zip(own, objective.discriminator.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad)


# Completion


def test_dirichlet_energy_is_half_the_squared_differences(graph):
    weight = torch.rand(graph.num_edges, dtype=torch.float64)
    a = torch.zeros(12, 12, dtype=torch.float64)
    a[graph.edge_index[1], graph.edge_index[0]] = weight
    a = a + a.T
    weighed = Graph.from_dense(graph.x, a)
    expected = 0.5 * (a * torch.cdist(graph.x, graph.x).square()).sum()
    torch.testing.assert_close(dirichlet_energy(graph.x, weighed), expected)


def test_the_joint_filter_is_a_kronecker_filter():
    torch.manual_seed(0)
    rows, cols = random_graph(5, 0.6, seed=1), random_graph(4, 0.7, seed=2)
    x = torch.randn(5, 4, dtype=torch.float64)
    model = MultiGraphCompletion(rows, cols, (x, None), order=3, hidden=2, separable=False).double()
    lr, lc = (propagation(g, "scaled_laplacian").to_dense() for g in (rows, cols))

    def terms(m):
        eye = torch.eye(len(m), dtype=m.dtype)
        return [eye, m, 2 * m @ m - eye]

    expected = torch.zeros(5, 4, 2).double()
    for j, a in enumerate(terms(lr)):
        for k, b in enumerate(terms(lc)):
            expected += (torch.kron(a, b) @ x.flatten()).view(5, 4, 1) * model.theta[j, k]
    torch.testing.assert_close(model.joint_filter(x), expected)


@pytest.mark.parametrize("separable", [True, False])
def test_completion_begins_at_its_start_and_learns(separable):
    torch.manual_seed(0)
    truth = torch.randn(6, 2) @ torch.randn(2, 5)
    graphs = [nearest_neighbours(truth, 2), nearest_neighbours(truth.T, 2)]
    start = MultiGraphCompletion.from_observed(truth, torch.ones(6, 5, dtype=torch.bool), 2)
    if not separable:
        start = truth, None
    model = MultiGraphCompletion(*graphs, start, steps=3, hidden=4, separable=separable)
    torch.testing.assert_close(model.complete(), truth)
    pairs = torch.cartesian_prod(torch.arange(6), torch.arange(5))
    loss = (model(pairs) - truth.flatten() - 1).square().mean() + model.smoothness(model, {})
    loss.backward()
    assert all(move.weight.grad.abs().sum() > 0 for move in model.moves)


def test_nearest_neighbours_by_hand():
    graph = nearest_neighbours(torch.tensor([[0.0], [1.0], [3.0], [3.5]]), 1)
    found = {tuple(e) for e in graph.edge_index.T.tolist()}
    assert found == {(0, 1), (1, 0), (2, 3), (3, 2)}


# Texts, ontologies, surfaces


def test_text_graph_weights_by_hand():
    graph, words = text_graph(["a b", "a b", "a c"], window=2)
    assert words == ["a", "b", "c"]
    dense = graph.to_dense()
    torch.testing.assert_close(dense, dense.T)
    assert dense.diagonal().tolist() == [1] * 6
    # Windows are the documents: p_a = 1, p_b = 2/3, p_ab = 2/3, so PMI(a, b) = 0, no edge;
    # b and c never meet. tf-idf: a is in every document, ln(3/3) = 0.
    assert dense[3, 4] == dense[4, 5] == 0
    torch.testing.assert_close(dense[0, 4], torch.tensor(math.log(3 / 2)))
    torch.testing.assert_close(dense[2, 5], torch.tensor(math.log(3)))
    assert dense[0, 3] == 0
    graph, words = text_graph(["a b c", "c d"], window=2)  # windows: ab, bc, cd
    dense = graph.to_dense()
    torch.testing.assert_close(dense[2, 3], torch.tensor(math.log(3 / 2)))  # (1/3) / (1/3 * 2/3)
    assert dense[3, 4] == pytest.approx(max(0, math.log((1 / 3) / (2 / 3 * 2 / 3))))


def test_ontology_attention_sums_to_one_over_ancestors():
    torch.manual_seed(0)
    # 0 root; 1, 2 below; leaves 3 (1 and 2 both), 4 (2).
    parents = {1: [0], 2: [0], 3: [1, 2], 4: [2]}
    layer = OntologyAttention(parents, 4, 3).double()
    assert layer.leaves == [3, 4]
    ancestor, place = layer.graph.edge_index
    assert sorted(ancestor[place == 0].tolist()) == [0, 1, 2, 3]
    assert sorted(ancestor[place == 1].tolist()) == [0, 2, 4]
    alpha, e = layer.attention(), layer.embedding.weight
    for i, leaf in enumerate(layer.leaves):
        own = ancestor[place == i]
        both = torch.cat([e[leaf].expand(len(own), -1), e[own]], 1)
        expected = layer.score(layer.project(both).tanh()).softmax(0)
        torch.testing.assert_close(alpha[place == i], expected[:, 0])
        torch.testing.assert_close(layer()[i], (expected * e[own]).sum(0))


def test_without_ancestors_it_is_a_plain_embedding():
    layer = OntologyAttention([[], [], []], 4, 3)
    torch.testing.assert_close(layer(), layer.embedding.weight)


def test_an_ontology_has_no_cycles(unchecked):
    with pytest.raises(ValueError, match="node 0 is its own ancestor"):
        ancestors(0, {0: [1], 1: [0]})


def test_visits_are_judged_by_the_cross_entropy_of_every_code():
    torch.manual_seed(0)
    model = VisitPredictor(3, 4, 5, 3)
    visits, target = torch.randint(2, (2, 4, 3)).float(), torch.randint(2, (2, 4, 3)).float()
    p = model(visits).softmax(-1)
    expected = -(target * p.log() + (1 - target) * (1 - p).log()).sum(-1).mean()
    torch.testing.assert_close(
        VisitPredictor.loss(model, {"input": visits, "target": target}), expected
    )


@pytest.mark.parametrize("kernel", ["exponential", "lorentz"])
def test_a_single_atom_is_a_ball(kernel):
    r = torch.tensor([0.5, 1.0, 1.7], dtype=torch.float64)
    direction = torch.tensor([1.0, 2.0, -2.0], dtype=torch.float64) / 3
    centre = torch.tensor([[0.3, -0.2, 0.1]], dtype=torch.float64)
    found = surface_curvatures(centre + r[:, None] * direction, centre, 1.3, kernel=kernel)
    torch.testing.assert_close(found["mean"], 1 / r)
    torch.testing.assert_close(found["gaussian"], 1 / r**2)
    torch.testing.assert_close(found["minimum"], found["maximum"], atol=1e-6, rtol=0)


def test_a_row_of_atoms_is_curved_one_way_only():
    line = torch.zeros(401, 3, dtype=torch.float64)
    line[:, 0] = torch.linspace(-20, 20, 401)
    point = torch.tensor([[0.0, 0.8, 0.0]], dtype=torch.float64)
    found = surface_curvatures(point, line, 1.0)
    assert float(found["maximum"]) == pytest.approx(1 / 0.8)
    assert float(found["minimum"]) == pytest.approx(0, abs=1e-6)
    assert float(found["gaussian"]) == pytest.approx(0, abs=1e-6)


def test_element_curvatures_do_not_see_turns_and_moves():
    torch.manual_seed(0)
    xyz, elements = torch.randn(6, 3, dtype=torch.float64), ["C", "C", "O", "N", "O", "C"]
    turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    before = element_curvatures(xyz, elements, 2.0)
    after = element_curvatures(xyz @ turn + 5, elements, 2.0)
    assert before == pytest.approx(after, abs=1e-6)
    assert len(before) == 9 * 16
    assert before["N-N mean sum"] == 0  # one nitrogen has no other
    assert before["C-O mean sum"] != before["O-C mean sum"]


# Explanation


def test_the_mask_finds_the_edge_that_decides():
    # Node 0's class is whether its neighbour 1 says so; 2 and 3 are noise, 4-5 elsewhere.
    edges = torch.tensor([[1, 2, 3, 5], [0, 0, 0, 4]])
    x = torch.tensor([[0.0], [5.0], [0.0], [0.0], [1.0], [1.0]])
    layer = GraphConv(1, 2, "sum")
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-1.0, 1.0]]))
        layer.bias.copy_(torch.tensor([2.0, -2.0]))

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, graph):
            return graph.answers(self.layer(graph.x, graph))

    model = Model().train()
    mask, features = graph_mask(model, Graph(x, edges), 0, features=True)
    assert int(mask.argmax()) == 0
    assert mask[0] > 0.8
    assert mask[3] == 0  # cannot reach node 0
    assert features[0] > 0.5
    assert model.training
    assert all(p.requires_grad for p in model.parameters())

"""A tree in two dimensions: hyperbolic space has room for it, the plane has not."""

from typing import Any

import torch

from neurarium.data import Data, Graph
from neurarium.graphs import PoincareEmbedding, RiemannianSGD
from neurarium.graphs.embed import WithNegatives, ranking_precision
from neurarium.learning import Backprop
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Nickel & Kiela (2017), Poincaré Embeddings, arXiv:1705.08039, on a generated tree",
    figure="gain in mean average precision over the plane",
    expect=(0.15, None),
    minutes=0.7,
    quick={"depth": 3, "epochs": 150, "karate": False},
    quick_expect=(0.02, None),
)
def poincare_tree(
    seed: int = 0, depth: int = 5, epochs: int = 300, karate: bool = True
) -> dict[str, float]:
    """A balanced tree of three branches, each node's neighbours ranked by distance.

    Loss, negatives (ten for each edge) and start are the paper's; the rates are 0.2 in the ball
    and in the plane, ten times less in the first ten epochs, on batches of 32 edges. The plane is
    trained by plain gradient descent. Also the karate club, at a rate of 0.1.
    """
    import networkx as nx

    def precision(graph: Graph, euclidean: bool, rate: float) -> float:
        torch.manual_seed(seed)
        model = PoincareEmbedding(graph.num_nodes, 2, euclidean=euclidean)
        optimizer: Any = torch.optim.SGD if euclidean else RiemannianSGD
        rule = Backprop(
            optimizer(model.parameters(), lr=rate),
            schedule=lambda step, total: 0.1 if step < total * 10 / epochs else 1.0,
        )
        edges = {"input": graph.edge_index.T.contiguous()}
        data = Data(edges, transform=WithNegatives(graph, 10))
        how: dict[str, Any] = {"batch_size": 32, "seed": seed, "verbose": False}
        fit(model, data, PoincareEmbedding.loss, rule, epochs=epochs, **how)
        every = torch.arange(graph.num_nodes)
        with torch.no_grad():
            distance = model.distance(every[:, None], every)
        return ranking_precision(distance, graph)

    tree = Graph.from_networkx(nx.balanced_tree(3, depth))
    ball, plane = precision(tree, False, 0.2), precision(tree, True, 0.2)
    found = {"gain": ball - plane, "tree, ball": ball, "tree, plane": plane}
    if karate:
        club = nx.karate_club_graph()
        for _, _, attributes in club.edges(data=True):
            attributes.clear()
        graph = Graph.from_networkx(club)
        found["karate, ball"] = precision(graph, False, 0.1)
        found["karate, plane"] = precision(graph, True, 0.1)
    return found

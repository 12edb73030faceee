"""Vectors of nodes from random walks, judged member by member."""

from typing import Any

import numpy as np
import torch

from neurarium.data import Data, Graph
from neurarium.graphs import NodeEmbedding, random_walks
from neurarium.learning import Backprop
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Perozzi et al. (2014), DeepWalk, arXiv:1403.6652; Grover & Leskovec (2016), node2vec",
    figure="members of the karate club told rightly, each from the 33 others",
    expect=(0.9, None),
    minutes=0.2,
    quick={"epochs": 15},
    quick_expect=(0.75, None),
)
def node2vec_karate(seed: int = 0, epochs: int = 30) -> dict[str, float]:
    """Vectors of 16 numbers by skip-gram over walks of ten members, then logistic regression.

    Judged by leaving one member out: told of themselves too, even random vectors separate all 34,
    since a plane in 16 dimensions can.
    """
    import networkx as nx
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import LeaveOneOut, cross_val_score

    club = nx.karate_club_graph()
    for _, _, attributes in club.edges(data=True):
        attributes.clear()
    graph = Graph.from_networkx(club, target="club")
    assert graph.y is not None
    sides = graph.y.numpy()

    def told(p: float, q: float) -> float:
        walks = random_walks(graph, 10, p, q, walks=40, seed=seed)
        torch.manual_seed(seed)
        model = NodeEmbedding(34, 16, window=3)
        how: dict[str, Any] = {"batch_size": 170, "seed": seed, "verbose": False}
        rule = Backprop("adam", lr=0.01)
        fit(model, Data({"input": walks}), NodeEmbedding.loss, rule, epochs=epochs, **how)
        vectors: np.ndarray = model.vectors.weight.detach().numpy()
        judge = LogisticRegression(C=10.0)
        return float(cross_val_score(judge, vectors, sides, cv=LeaveOneOut()).mean())

    return {"DeepWalk": told(1, 1), "node2vec, p = 4, q = 0.5": told(4, 0.5)}

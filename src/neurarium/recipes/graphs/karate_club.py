"""Zachary's karate club: two labels are enough."""

import torch

from neurarium.data import Graph, node_data
from neurarium.graphs import GCN
from neurarium.learning import Backprop
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Kipf & Welling (2017), appendix A; Zachary (1977), Journal of Anthropological Research",
    figure="accuracy on the 32 unlabelled members",
    expect=(0.93, None),
    minutes=0.05,
    quick={},
)
def karate_club(seed: int = 0, epochs: int = 200) -> float:
    """Who sided with whom when the club split, from friendships and the two leaders' sides alone.

    Nodes have no features but their number. A graph convolutional network of two layers; the
    figures are of the 32 others. Zachary's own model misplaced one.
    """
    import networkx as nx

    club = nx.karate_club_graph()
    nx.set_edge_attributes(club, 1.0, "weight")
    graph = Graph.from_networkx(club, target="club")
    leaders = torch.isin(torch.arange(34), torch.tensor([0, 33]))
    graph = Graph(graph.x, graph.edge_index, y=graph.y, train_mask=leaders, test_mask=~leaders)
    torch.manual_seed(seed)
    model = GCN(34, 16, 2, dropout=0.0)
    rule = Backprop("adam", lr=0.01, weight_decay=5e-3)
    run = fit(model, node_data(graph), rule=rule, epochs=epochs, seed=seed, verbose=False)
    return run.evaluate("test")["accuracy"]

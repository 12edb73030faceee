"""A task that cannot be solved where the types of the edges are forgotten."""

import torch

from neurarium.data import Graph, node_data
from neurarium.graphs import GraphNetwork
from neurarium.learning import Backprop
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Schlichtkrull et al. (2018), Relational GCN, arXiv:1703.06103, on a generated graph",
    figure="test accuracy with types",
    expect=(0.95, None),
    minutes=0.1,
    quick={"nodes": 600, "epochs": 60},
    quick_expect=(0.93, None),
)
def typed_edges(seed: int = 0, nodes: int = 1500, epochs: int = 100) -> dict[str, float]:
    """Does a node have more friends than foes among those that are marked?

    Each node has five friends and five foes, drawn at random; half of all nodes are marked. How
    many are marked among both together says nothing, so with the types merged chance is what is
    left.
    """
    generator = torch.Generator().manual_seed(seed)
    marked = torch.randint(2, (nodes,), generator=generator)
    sources = torch.randint(nodes, (2, nodes, 5), generator=generator)
    friends, foes = marked[sources].sum(2)
    clear = friends != foes
    targets = torch.arange(nodes)[:, None].expand(nodes, 5)
    edges = torch.stack([sources.flatten(), targets.repeat(2, 1).flatten()])
    kinds = torch.arange(2).repeat_interleave(5 * nodes)
    test = torch.arange(nodes) < nodes // 2

    def accuracy(types: torch.Tensor) -> float:
        x = torch.stack([marked, 1 - marked], 1).float()
        masks = {"train_mask": clear & ~test, "test_mask": clear & test}
        graph = Graph(x, edges, edge_type=types, y=(friends > foes).long(), **masks)
        torch.manual_seed(seed)
        model = GraphNetwork(2, 16, 2, conv="RGCNConv:relations=2", dropout=0.0)
        rule = Backprop("adam", lr=0.01)
        run = fit(model, node_data(graph), rule=rule, epochs=epochs, seed=seed, verbose=False)
        return run.evaluate("test")["accuracy"]

    return {"types": accuracy(kinds), "types merged": accuracy(torch.zeros_like(kinds))}

"""Classes that differ in nothing but the direction of their edges."""

from typing import Any

import torch

from neurarium.data import Graph, node_data
from neurarium.graphs import GraphNetwork
from neurarium.learning import Backprop
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Monti, Otness & Bronstein (2018), MotifNet, arXiv:1802.01572, on a generated graph",
    figure="gain in test accuracy over ChebNet on the undirected graph",
    expect=(0.25, None),
    minutes=0.2,
    quick={"nodes": 150, "epochs": 60},
)
def motif_blocks(seed: int = 0, nodes: int = 300, epochs: int = 100) -> dict[str, float]:
    """Two classes of three blocks: edges run around them in one class, forward in the other.

    Nodes have no features, and without directions the two classes are alike: blocks of one class
    are joined with a chance of 0.2, other nodes with 0.03, in directions drawn at random.
    """
    generator = torch.Generator().manual_seed(seed)
    number = torch.arange(nodes)
    label, block = number % 2, number // 2 % 3
    i, j = torch.triu_indices(nodes, nodes, 1)
    within = (label[i] == label[j]) & (block[i] != block[j])
    joined = torch.rand(len(i), generator=generator) < torch.where(within, 0.2, 0.03)
    i, j, within = i[joined], j[joined], within[joined]
    forward = torch.rand(len(i), generator=generator) < 0.5
    step = (block[j] - block[i]) % 3
    around = torch.where(label[i] == 0, step == 1, block[i] < block[j])
    forward = torch.where(within, around, forward)
    directed = torch.stack([torch.where(forward, i, j), torch.where(forward, j, i)])
    x = torch.ones(nodes, 1)
    order = torch.rand(nodes, generator=generator).argsort()
    masks: dict[str, Any] = {
        name: torch.isin(number, part)
        for name, part in zip(("train_mask", "val_mask", "test_mask"), order.chunk(3), strict=True)
    }

    def accuracy(edges: torch.Tensor, conv: str) -> float:
        data = node_data(Graph(x, edges, y=label, **masks))
        torch.manual_seed(seed)
        model = GraphNetwork(1, 16, 2, conv=conv, dropout=0.0)
        rule = Backprop("adam", lr=0.01, weight_decay=5e-4)
        run = fit(model, data, rule=rule, epochs=epochs, seed=seed, verbose=False)
        return run.evaluate("test")["accuracy"]

    motifs = accuracy(directed, "MotifConv:order=2")
    undirected = accuracy(torch.cat([directed, directed.flip(0)], 1), "ChebConv:K=3")
    gain = motifs - undirected
    return {"gain": gain, "MotifNet": motifs, "ChebNet, undirected": undirected}

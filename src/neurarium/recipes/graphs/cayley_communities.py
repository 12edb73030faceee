"""Where a signal is raised: a rational filter tells communities that polynomials confuse."""

from typing import Any

import torch

from neurarium.data import Data, Graph
from neurarium.graphs import SignalNetwork
from neurarium.learning import Backprop
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Levie, Monti, Bresson & Bronstein (2019), CayleyNets, arXiv:1705.07664, section V-A",
    figure="gain in test accuracy over ChebNet of the same order",
    expect=(0.1, None),
    minutes=1.0,
    quick={"signals": 1000, "epochs": 10, "communities": 5},
    quick_expect=(0.05, None),
)
def cayley_communities(
    seed: int = 0,
    signals: int = 3000,
    epochs: int = 20,
    communities: int = 15,
    order: int = 3,
) -> dict[str, float]:
    """Fifteen communities; each signal is noise of 0.3, and 1 more in one of them: in which?

    One layer of 32 filters, the mean over the nodes, a linear layer: as in the paper, whose graph
    and figures are not public. Order r means a polynomial of degree r.
    """
    import networkx as nx

    sizes = [6 + k % 5 for k in range(communities)]
    community = torch.repeat_interleave(torch.arange(communities), torch.tensor(sizes))
    inside, across = 0.9, 0.02
    chances = [
        [inside if a == b else across for a in range(communities)] for b in range(communities)
    ]
    graph = Graph.from_networkx(nx.stochastic_block_model(sizes, chances, seed=seed))
    graph = Graph(torch.zeros(len(community), 1), graph.edge_index)
    generator = torch.Generator().manual_seed(seed)

    def drawn(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        which = torch.randint(communities, (count,), generator=generator)
        noise = 0.3 * torch.randn(count, len(community), generator=generator)
        return noise + (community == which[:, None]), which

    data = Data(drawn(signals), test=drawn(2000), task="multiclass")

    def accuracy(conv: str) -> float:
        torch.manual_seed(seed)
        model = SignalNetwork(graph, communities, conv, hidden=32, readout="mean")
        rule = Backprop("adam", lr=1e-2, schedule="one_cycle")
        how: dict[str, Any] = {"batch_size": 100, "seed": seed, "verbose": False}
        run = fit(model, data, rule=rule, epochs=epochs, **how)
        return run.evaluate("test")["accuracy"]

    cayley, cheb = accuracy(f"CayleyConv:order={order}"), accuracy(f"ChebConv:K={order + 1}")
    return {"gain": cayley - cheb, "CayleyNet": cayley, "ChebNet": cheb}

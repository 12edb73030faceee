"""Rates of infection read off a network that only watched an epidemic."""

from typing import Any

import torch
from torch import Tensor

from neurarium.data import Data, Graph, simulate_contagion, transition_probabilities
from neurarium.data.contagion import Contagion
from neurarium.graphs import ContagionGNN, TransitionLoss, rare_state_weights
from neurarium.learning import Backprop
from neurarium.recipes.reproduction import recipe
from neurarium.training import fit


@recipe(
    source="Murphy, Laurence & Allard (2021), Nature Communications 12, figure 2, scaled down",
    figure="correlation of learnt and true rates, complex contagion",
    expect=(0.98, None),
    minutes=1.5,
    quick={"nodes": 60, "steps": 400, "epochs": 5, "kinds": ("simple",)},
    quick_expect=(0.7, None),
)
def contagion_rates(
    seed: int = 0,
    nodes: int = 300,
    steps: int = 2000,
    epochs: int = 12,
    kinds: tuple[Contagion, ...] = ("complex", "simple"),
) -> dict[str, float]:
    """Watched on a scale-free network, asked on a random one that it has never seen.

    The paper has correlations near 1, from 1000 nodes and 10,000 steps. The figure compares the
    chance of infection of susceptible nodes with up to ten infected neighbours. Beside it stands
    attention by softmax, which cannot count; and an epidemic of 50 steps, rolled out by the network
    and by the truth from one beginning: the mean difference in the share infected.
    """
    import networkx as nx

    home = Graph.from_networkx(nx.barabasi_albert_graph(nodes, 2, seed=seed))
    away = Graph.from_networkx(nx.gnp_random_graph(nodes, 6 / nodes, seed=seed + 1))

    def learnt(kind: Contagion, gate: str) -> ContagionGNN:
        before, after = simulate_contagion(home, kind, steps, seed=seed)
        weight = rare_state_weights(home, before)
        data = Data({"input": before, "target": after, "weight": weight})
        torch.manual_seed(seed)
        model = ContagionGNN(gate=gate)  # type: ignore[arg-type]
        rule = Backprop("adam", lr=5e-3, schedule="one_cycle")
        size = max(1, 6000 // nodes)
        options: dict[str, Any] = {"batch_size": size, "seed": seed, "verbose": False}
        fit(model, data, TransitionLoss(home), rule, epochs=epochs, **options)
        return model.eval()

    def correlation(model: ContagionGNN, kind: Contagion) -> float:
        states, _ = simulate_contagion(away, kind, 100, restart=10, seed=seed + 2)
        count = infected_neighbours(states)
        here = (states == 0) & (count <= 10)
        truth = torch.stack([transition_probabilities(away, s, kind)[:, 1] for s in states])
        told = torch.stack([model.rates(away, s)[:, 1] for s in states])
        return float(torch.corrcoef(torch.stack([truth[here], told[here].double()]))[0, 1])

    def infected_neighbours(states: Tensor) -> Tensor:
        source, target = away.edge_index
        return torch.zeros_like(states).index_add_(1, target, states[:, source])

    def roll_out(model: ContagionGNN, kind: Contagion) -> float:
        mine = truth = (torch.arange(nodes) % 5 == 0).long()
        generator = torch.Generator().manual_seed(seed)
        gap = 0.0
        for _ in range(50):
            mine = torch.multinomial(model.rates(away, mine), 1, generator=generator)[:, 0]
            chances = transition_probabilities(away, truth, kind)
            truth = torch.multinomial(chances, 1, generator=generator)[:, 0]
            gap += abs(float(mine.float().mean() - truth.float().mean())) / 50
        return gap

    found: dict[str, float] = {}
    for kind in kinds:
        model = learnt(kind, "sigmoid")
        found[kind] = correlation(model, kind)
        if kind == "complex":
            found["complex, by softmax"] = correlation(learnt(kind, "softmax"), kind)
        found[f"{kind}, difference of epidemics"] = roll_out(model, kind)
    return found

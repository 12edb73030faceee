"""Spreading on networks: what is simulated, and what probability each step truly had."""

import math
from typing import Literal

import torch
from torch import Tensor

from neurarium.data.graph import Graph

__all__ = ["Contagion", "simulate_contagion", "transition_probabilities"]

Contagion = Literal["simple", "complex", "interacting", "metapopulation"]

_INFECTION, _RECOVERY = 0.04, 0.08
_COMPLEX_WIDTH = 6.0
_INTERACTING_INFECTION, _INTERACTING_RECOVERY, _COUPLING = (0.01, 0.012), (0.19, 0.22), 50.0
_REPRODUCTION, _LEAVING = 2.5 / 2.3, 1 / 7.5


def _infected_neighbours(graph: Graph, infected: Tensor) -> Tensor:
    source, target = graph.edge_index
    sums = torch.zeros(graph.num_nodes, dtype=torch.float64)
    return sums.index_add(0, target, infected.double()[source])


def _complex_rate(count: Tensor) -> Tensor:
    """Planck's curve of the number of infected neighbours, its highest point 1."""
    # l^3 / (e^l - 1) is largest, 1.4214..., at l = 2.8214...
    scaled = (count / _COMPLEX_WIDTH).clamp(min=1e-12)
    return (scaled**3 / torch.expm1(scaled)).where(count > 0, 0.0) / 1.421435


def transition_probabilities(graph: Graph, state: Tensor, kind: Contagion) -> Tensor:
    r"""The probability of every next state of each node: what a network is to learn.

    $$\alpha(\ell) = 1 - (1 - \gamma)^\ell \quad\text{(simple)}, \qquad
      \alpha(\ell) = \frac{\ell^3}{z (e^{\ell/\eta} - 1)} \quad\text{(complex)}$$

    with $\ell$ the number of infected neighbours; recovery is constant. Two interacting diseases
    give four states, 1 and 2 for one of them and 3 for both, and spread 50 times as readily to who
    carries the other. A metapopulation holds fractions that are susceptible, infected and
    recovered, (N, 3), and moves without chance: the fractions of the next step are returned.

    Args:
        state: (N,) numbers, 0 for susceptible, or (N, 3) fractions.

    Source: Murphy, Laurence & Allard (2021), Deep learning of contagion dynamics on complex
    networks, Nature Communications 12, arXiv:2006.05410.
    """
    if kind in ("simple", "complex"):
        count = _infected_neighbours(graph, state == 1)
        rate = 1 - (1 - _INFECTION) ** count if kind == "simple" else _complex_rate(count)
        infected = torch.where(state == 1, 1 - _RECOVERY, rate)
        return torch.stack([1 - infected, infected], 1)
    if kind == "interacting":
        return _interacting(graph, state)
    if kind == "metapopulation":
        return _metapopulation(graph, state)
    raise ValueError(f"kind must be simple, complex, interacting or metapopulation, got {kind!r}")


def _interacting(graph: Graph, state: Tensor) -> Tensor:
    carried = [(state & 1) > 0, (state & 2) > 0]
    after = []
    for g in (0, 1):
        count = _infected_neighbours(graph, carried[g])
        helped = torch.where(carried[1 - g], _COUPLING, 1.0)
        rate = 1 - (1 - _INTERACTING_INFECTION[g] * helped) ** count
        after.append(torch.where(carried[g], 1 - _INTERACTING_RECOVERY[g], rate))
    first, second = after
    chances = [(1 - first) * (1 - second), first * (1 - second), (1 - first) * second]
    return torch.stack([*chances, first * second], 1)


def _metapopulation(graph: Graph, state: Tensor, people: float = 1e4) -> Tensor:
    susceptible, infected, recovered = state.double().unbind(1)
    pressure = -torch.expm1(infected * people * math.log1p(-_REPRODUCTION / people))
    caught = (susceptible * _infected_neighbours(graph, pressure)).minimum(susceptible)
    left = _LEAVING * infected
    return torch.stack([susceptible - caught, infected + caught - left, recovered + left], 1)


def simulate_contagion(
    graph: Graph, kind: Contagion = "simple", steps: int = 1000, restart: int = 100, seed: int = 0
) -> tuple[Tensor, Tensor]:
    r"""States and the next ones, (steps, N): a series that is begun anew now and then.

    $$x_i(t + 1) \sim P\bigl(\cdot \mid x_i(t), \{x_j(t)\}_{j \in N(i)}\bigr)$$

    Args:
        restart: number of steps after which the state is drawn anew, so that rare ones are seen.

    Source: Murphy, Laurence & Allard (2021), arXiv:2006.05410.
    """
    generator = torch.Generator().manual_seed(seed)
    before, after = [], []
    state = torch.empty(0)
    for step in range(steps):
        if step % restart == 0:
            state = _drawn(graph.num_nodes, kind, generator)
        chances = transition_probabilities(graph, state, kind)
        if kind == "metapopulation":
            following = chances
        else:
            following = torch.multinomial(chances, 1, generator=generator)[:, 0]
        before.append(state)
        after.append(following)
        state = following
    return torch.stack(before), torch.stack(after)


def _drawn(nodes: int, kind: Contagion, generator: torch.Generator) -> Tensor:
    def some() -> Tensor:
        share = torch.rand((), generator=generator)
        return torch.rand(nodes, generator=generator) < share

    if kind == "interacting":
        return some().long() + 2 * some().long()
    if kind != "metapopulation":
        return some().long()
    infected = 0.01 * torch.rand(nodes, generator=generator, dtype=torch.float64) * some()
    return torch.stack([1 - infected, infected, torch.zeros_like(infected)], 1)

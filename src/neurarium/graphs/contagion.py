"""Learning how something spreads on a network from watching it spread."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from neurarium.data import Batch
from neurarium.data.graph import Graph
from neurarium.graphs.propagate import at_sources, at_targets, softmax, spread
from neurarium.networks import MLP

__all__ = ["ContagionGNN", "TransitionLoss", "rare_state_weights"]


class ContagionGNN(nn.Module):
    r"""Next-state probabilities of nodes, by attention that can count neighbours.

    $$\nu_i = u_i + \sum_{j \in N(i)} a_{ij} v_j, \qquad u = \operatorname{ReLU}(W_u \xi),\;
      v = \operatorname{ReLU}(W_v \xi),\; a_{ij} = \sigma\bigl(A u_i + B v_j\bigr)$$

    with $\xi$ an MLP of a node's own state and an MLP of $\nu$ giving the logits. The gate is a
    sigmoid: a softmax would divide the number of infected neighbours out.

    Args:
        states: number of states of a node.
        gate: "softmax" for comparison.

    Source: Murphy, Laurence & Allard (2021), Deep learning of contagion dynamics on complex
    networks, Nature Communications 12, arXiv:2006.05410.
    """

    def __init__(
        self,
        states: int = 2,
        hidden: int = 32,
        heads: int = 2,
        gate: Literal["sigmoid", "softmax"] = "sigmoid",
    ) -> None:
        super().__init__()
        self.states, self.heads, self.gate = states, heads, gate
        wide = heads * hidden
        self.node = nn.Sequential(MLP([states, hidden, hidden]), nn.ReLU())
        self.as_target, self.as_source = nn.Linear(hidden, wide), nn.Linear(hidden, wide)
        self.attend_target = nn.Parameter(torch.empty(heads, hidden))
        self.attend_source = nn.Parameter(torch.empty(heads, hidden))
        self.out = MLP([wide, hidden, hidden, states])
        for weight in (self.attend_target, self.attend_source):
            nn.init.xavier_uniform_(weight)

    def forward(self, state: Tensor, graph: Graph) -> Tensor:
        """Logits (..., N, states) of numbers of states (..., N)."""
        steps = state.reshape(-1, graph.num_nodes)
        copies = _copies(graph, len(steps))
        given = one_hot(steps.flatten(), self.states).to(self.attend_target.dtype)
        xi = self.node(given)
        u = self.as_target(xi).relu().unflatten(1, (self.heads, -1))
        v = self.as_source(xi).relu().unflatten(1, (self.heads, -1))
        of_target = at_targets(copies, (u * self.attend_target).sum(-1))
        scores = of_target + at_sources(copies, (v * self.attend_source).sum(-1))
        alpha = scores.sigmoid() if self.gate == "sigmoid" else softmax(copies, scores)
        heard = spread(copies, alpha[..., None] * at_sources(copies, v))
        return self.out((u + heard).flatten(1)).view(*state.shape, self.states)

    @torch.no_grad()
    def rates(self, graph: Graph, state: Tensor) -> Tensor:
        """Next-state probabilities (..., N, states)."""
        return self(state, graph).softmax(-1)


def _copies(graph: Graph, count: int) -> Graph:
    """As many copies side by side, one for each step of a batch."""
    key = ("copies", count)
    if count == 1:
        return graph
    if key not in graph.cache:
        graph.cache[key] = Graph.collate([graph] * count)
    return graph.cache[key]


class TransitionLoss(nn.Module):
    r"""Cross-entropy of the next states, weighted so that rare situations count.

    $$L = -\frac{\sum_{t,i} w_i(t) \log \hat p_i\bigl(x_i(t + 1)\bigr)}{\sum_{t,i} w_i(t)}$$

    A batch holds `input` and `target` (steps, N), and `weight` of `rare_state_weights`.

    Source: Murphy, Laurence & Allard (2021), arXiv:2006.05410.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        logits = model(batch["input"], self.graph)
        losses = nn.functional.cross_entropy(
            logits.flatten(0, -2), batch["target"].flatten(), reduction="none"
        )
        weight = batch["weight"].flatten()
        return (losses * weight).sum() / weight.sum()

    def __repr__(self) -> str:
        return "TransitionLoss()"


def rare_state_weights(graph: Graph, states: Tensor, power: float = 0.5) -> Tensor:
    r"""Weights of nodes at steps (T, N) by how seldom their situation is met.

    $$w_i(t) \propto \bigl[\text{frequency of } (x_i,\; \#\{j \in N(i): x_j = s\}_s)
      \bigr]^{-\lambda}$$

    Args:
        power: $\lambda$; 0 weighs all alike, 1 all situations alike.

    Source: Murphy, Laurence & Allard (2021), arXiv:2006.05410.
    """
    source, target = graph.edge_index
    kinds = int(states.max()) + 1
    situation = states.clone()
    for kind in range(1, kinds):
        there = (states == kind).long()
        count = torch.zeros_like(states).index_add_(1, target, there[:, source])
        situation = situation * (int(count.max()) + 1) + count
    degree = torch.bincount(target, minlength=graph.num_nodes)
    situation = situation * (int(degree.max()) + 1) + degree
    _, which, times = situation.unique(return_inverse=True, return_counts=True)
    weight = times[which].double().pow(-power)
    return (weight / weight.mean()).float()


def contagion_batch(graph: Graph, before: Tensor, after: Tensor) -> Mapping[str, Tensor]:
    """What `TransitionLoss` reads, one row for each step."""
    return {"input": before, "target": after, "weight": rare_state_weights(graph, before)}

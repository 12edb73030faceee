"""From the features of nodes to those of whole graphs."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from neurarium.data.graph import Graph
from neurarium.graphs.propagate import softmax, spread

__all__ = ["AttentionPool", "TopKPool", "pool"]


def pool(
    h: Tensor, batch: Tensor | Graph | None = None, how: Literal["sum", "mean", "max"] = "sum"
) -> Tensor:
    r"""One row for each graph out of the rows of its nodes.

    $$R_g = \bigoplus_{i:\, batch_i = g} h_i, \qquad
      \bigoplus \in \{\textstyle\sum, \text{mean}, \max\}$$

    Only the sum tells a graph from two copies of it.

    Args:
        batch: (N,) whose graph a node belongs to, or the batch of graphs; None means one graph.

    Source: Xu et al. (2019), How Powerful are Graph Neural Networks?, arXiv:1810.00826.
    """
    return spread(_members(h, batch), h, how)


class AttentionPool(nn.Module):
    r"""A weighted sum of nodes, the weights a softmax over the nodes of each graph.

    $$R_g = \sum_{i \in g} \operatorname{softmax}_{i \in g}(a^\top h_i + c) \odot \phi(h_i)$$

    Args:
        out_features: width of $\phi$, a linear map; None leaves the features as they are.

    Source: Li et al. (2016), Gated Graph Sequence Neural Networks, arXiv:1511.05493 (with sigmoid
    gates); the softmax is PyTorch Geometric's.
    """

    def __init__(self, in_features: int, out_features: int | None = None) -> None:
        super().__init__()
        self.gate = nn.Linear(in_features, 1)
        self.value = nn.Identity() if out_features is None else nn.Linear(in_features, out_features)

    def forward(self, h: Tensor, batch: Tensor | Graph | None = None) -> Tensor:
        members = _members(h, batch)
        return spread(members, softmax(members, self.gate(h)) * self.value(h))


class TopKPool(nn.Module):
    r"""Keep the nodes that score highest along a learnt direction, and the edges between them.

    $$s = \frac{H p}{\lVert p \rVert}, \qquad
      H' = (H \odot g(s))_{I}, \quad A' = A_{I, I}, \quad I = \text{the } \lceil \rho N \rceil
      \text{ largest } s \text{ of each graph}$$

    Args:
        ratio: $\rho$.
        gate: $g$, "sigmoid" in the paper, "tanh" in PyTorch Geometric.

    Source: Gao & Ji (2019), Graph U-Nets, arXiv:1905.05178.
    """

    def __init__(
        self, in_features: int, ratio: float = 0.5, gate: Literal["sigmoid", "tanh"] = "sigmoid"
    ) -> None:
        super().__init__()
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio must lie in (0, 1], got {ratio}; it is the share that is kept")
        self.ratio, self.gate = ratio, gate
        self.direction = nn.Parameter(torch.randn(in_features) / math.sqrt(in_features))

    def forward(self, h: Tensor, graph: Graph) -> tuple[Tensor, Graph]:
        score = h @ (self.direction / self.direction.norm())
        kept = self._highest(score, graph)
        number = torch.full((graph.num_nodes,), -1, device=h.device)
        number[kept] = torch.arange(len(kept), device=h.device)
        ends = number[graph.edge_index]
        inside = (ends >= 0).all(0)
        x = h[kept] * getattr(torch, self.gate)(score[kept])[:, None]
        weight = None if graph.edge_weight is None else graph.edge_weight[inside]
        batch = None if graph.batch is None else graph.batch[kept]
        cache = {"num_graphs": graph.num_graphs}
        return x, Graph(x, ends[:, inside], edge_weight=weight, batch=batch, cache=cache)

    def _highest(self, score: Tensor, graph: Graph) -> Tensor:
        batch = torch.zeros_like(score).long() if graph.batch is None else graph.batch
        order = torch.argsort(score.detach(), descending=True)
        order = order[torch.argsort(batch[order], stable=True)]  # by graph, the highest first
        size = torch.bincount(batch, minlength=graph.num_graphs)
        rank = torch.arange(len(order), device=score.device)
        rank = rank - (size.cumsum(0) - size)[batch[order]]
        most = (size * self.ratio).ceil()[batch[order]]
        return order[rank < most].sort().values


def _members(h: Tensor, batch: Tensor | Graph | None) -> Graph:
    """A graph in which every node points to what stands for its whole graph."""
    if isinstance(batch, Graph):
        graph = batch
        if "members" not in graph.cache:
            graph.cache["members"] = _pointing(graph.num_nodes, graph.batch, graph.num_graphs, h)
        return graph.cache["members"]
    size = 1 if batch is None else int(batch.max()) + 1
    return _pointing(len(h), batch, size, h)


def _pointing(nodes: int, batch: Tensor | None, size: int, h: Tensor) -> Graph:
    source = torch.arange(nodes, device=h.device)
    target = torch.zeros_like(source) if batch is None else batch
    placeholder = torch.empty(size, 0, device=h.device)
    return Graph(placeholder, torch.stack([source, target]), checked=True)

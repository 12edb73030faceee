"""Codes of an ontology, each seen in the light of its ancestors."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.data.graph import Graph
from neurarium.graphs.propagate import softmax, spread

__all__ = ["OntologyAttention", "VisitPredictor"]


class OntologyAttention(nn.Module):
    r"""A code's embedding as an attention over itself and its ancestors (GRAM).

    $$g_i = \sum_{j \in A(i)} \alpha_{ij} e_j, \qquad \alpha_{ij} =
      \operatorname{softmax}_{j \in A(i)} u^\top \tanh\bigl(W [e_i; e_j] + b\bigr)$$

    A code with many examples can rely on its own vector, a rare one on those of its ancestors.

    Args:
        parents: for each node, the numbers of its parents; leaves are nodes without children.
        dim: of the embeddings.
        hidden: of the attention.

    Source: Choi et al. (2017), GRAM: Graph-based Attention Model for Healthcare Representation
    Learning, arXiv:1611.07012.
    """

    def __init__(
        self, parents: Mapping[int, Sequence[int]] | Sequence[Sequence[int]], dim: int, hidden: int
    ) -> None:
        super().__init__()
        given = parents if isinstance(parents, Mapping) else dict(enumerate(parents))
        nodes = max([*given, *(p for found in given.values() for p in found)]) + 1
        above = {p for found in given.values() for p in found}
        self.leaves = [node for node in range(nodes) if node not in above]
        pairs = [
            (place, ancestor)
            for place, leaf in enumerate(self.leaves)
            for ancestor in ancestors(leaf, given)
        ]
        leaf, ancestor = torch.tensor(pairs).T
        # From an ancestor to the leaf's place; a placeholder tells the number of nodes.
        self.graph = Graph(torch.empty(nodes, 0), torch.stack([ancestor, leaf]))
        self.embedding = nn.Embedding(nodes, dim)
        self.project = nn.Linear(2 * dim, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)

    def attention(self) -> Tensor:
        r"""$\alpha$ of every pair of `graph.edge_index`."""
        ancestor, place = self.graph.edge_index
        own = torch.tensor(self.leaves, device=place.device)[place]
        both = torch.cat([self.embedding(own), self.embedding(ancestor)], 1)
        return softmax(self.graph, self.score(self.project(both).tanh()))[:, 0]

    def forward(self) -> Tensor:
        """The embeddings of all leaves (leaves, dim)."""
        ancestor, _ = self.graph.edge_index
        weighed = self.attention()[:, None] * self.embedding(ancestor)
        return spread(self.graph, weighed)[: len(self.leaves)]


def ancestors(node: int, parents: Mapping[int, Sequence[int]]) -> list[int]:
    """The node and all above it, each once: of a code with two parents both lines count.

    Raises:
        ValueError: if a node is above itself.
    """
    found, stack = [node], list(parents.get(node, ()))
    while stack:
        above = stack.pop()
        if above == node:
            raise ValueError(f"node {node} is its own ancestor; an ontology has no cycles")
        if above not in found:
            found.append(above)
            stack.extend(parents.get(above, ()))
    return found


class VisitPredictor(nn.Module):
    r"""The codes of the next visit from those of the visits before.

    $$v_t = \tanh\Bigl(\sum_{c \in \text{visit}_t} g_c\Bigr), \qquad h_t =
      \operatorname{GRU}(v_t, h_{t-1}), \qquad \hat y_t = \operatorname{softmax}(W h_t + b)$$

    Args:
        codes: a module that gives the embeddings of all codes, such as `OntologyAttention`; or
            their number, for plain vectors.

    Source: Choi et al. (2017), arXiv:1611.07012.
    """

    def __init__(self, codes: nn.Module | int, dim: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.codes = nn.Embedding(codes, dim) if isinstance(codes, int) else codes
        self.gru = nn.GRU(dim, hidden, batch_first=True)
        self.out = nn.Linear(hidden, outputs)

    def forward(self, visits: Tensor) -> Tensor:
        """Logits (N, T, outputs) of visits as 0/1 rows of codes (N, T, codes)."""
        codes = self.codes
        table: Tensor = codes.weight if isinstance(codes, nn.Embedding) else codes()
        states, _ = self.gru((visits.to(table.dtype) @ table).tanh())
        return self.out(states)

    @staticmethod
    def loss(model: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy of each code with its probability, mean over the visits."""
        chance = model(batch["input"]).softmax(-1).clamp(1e-8, 1 - 1e-7)
        target = batch["target"].to(chance.dtype)
        told = target * chance.log() + (1 - target) * (1 - chance).log()
        return -told.sum(-1).mean()

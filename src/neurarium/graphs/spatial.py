"""Convolutions that gather from neighbours: what is sent, how it is brought together, what is kept.

Each takes `(x, graph)`, the graph a `Graph` or an `edge_index`, and gives new features of all
nodes; activations are the caller's.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, normalize
from torch.nn.utils.rnn import PackedSequence

from neurarium.data.graph import Graph
from neurarium.graphs.propagate import (
    Kind,
    SparseFeatures,
    at_sources,
    at_targets,
    propagation,
    softmax,
    spread,
    times_weight,
    with_loops,
)
from neurarium.graphs.sparse import Sparse, drop, product

__all__ = ["GATConv", "GINConv", "GraphConv", "RGCNConv", "SAGEConv", "structure"]

Nodes = Tensor | SparseFeatures


def structure(x: Nodes, graph: Graph | Tensor) -> Graph:
    """The graph itself, or one made of an `edge_index` over the rows of x."""
    if isinstance(graph, Graph):
        return graph
    placeholder = (
        x.new_zeros(x.shape[-2], 1) if isinstance(x, Tensor) else x.values.new_zeros(x.shape[0], 1)
    )
    return Graph(placeholder, graph)


class GraphConv(nn.Module):
    r"""Multiply by a matrix of the graph, then by weights: the notes' ladder in one layer.

    $$Y = P\,X\,W + b, \qquad P \in \{A,\; A + I,\; \hat D^{-1}\hat A,\;
      \hat D^{-1/2}\hat A\hat D^{-1/2}, \dots\}, \quad \hat A = A + I$$

    "sum" forgets the node itself and lets the scale grow with the degree; "sum+self" mends the
    first, "row" the second, "renormalized" weighs a neighbour by its degree too.

    Args:
        operator: which matrix, see `propagation`.

    Source: Kipf & Welling (2017), Semi-Supervised Classification with Graph Convolutional
    Networks, arXiv:1609.02907.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        operator: Kind = "renormalized",
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.operator: Kind = operator
        self.weight = nn.Parameter(torch.empty(in_features, out_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x: Nodes, graph: Graph | Tensor) -> Tensor:
        y = propagation(structure(x, graph), self.operator) @ times_weight(x, self.weight)
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}, operator={self.operator!r}"


class SAGEConv(nn.Module):
    r"""Keep the node and an aggregate of its neighbours apart; made for nodes never seen.

    $$h'_i = W \bigl[h_i;\; \operatorname{AGG}_{j \in N(i)} h_j\bigr] + b, \qquad
      \text{optionally } h'_i / \lVert h'_i \rVert_2$$

    Args:
        aggregate: "mean"; "gcn", the mean with the node itself among them and no part of its own;
            "pool", the maximum of $\operatorname{relu}(W_p h_j + b_p)$; "lstm", over the
            neighbours in an order drawn anew each time.
        normalize: whether to scale each node's output to length 1.

    Source: Hamilton, Ying & Leskovec (2017), Inductive Representation Learning on Large Graphs,
    arXiv:1706.02216.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        aggregate: Literal["mean", "gcn", "pool", "lstm"] = "mean",
        normalize: bool = True,
    ) -> None:
        super().__init__()
        if aggregate not in ("mean", "gcn", "pool", "lstm"):
            raise ValueError(f"aggregate must be mean, gcn, pool or lstm, got {aggregate!r}")
        self.aggregate, self.normalize = aggregate, normalize
        self.neighbours = nn.Parameter(torch.empty(in_features, out_features))
        self.own = None if aggregate == "gcn" else nn.Parameter(torch.empty_like(self.neighbours))
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.pool = nn.Linear(in_features, in_features) if aggregate == "pool" else None
        self.lstm = (
            nn.LSTM(in_features, in_features, batch_first=True) if aggregate == "lstm" else None
        )
        for weight in (self.neighbours, self.own):
            if weight is not None:
                nn.init.xavier_uniform_(weight)

    def forward(self, x: Nodes, graph: Graph | Tensor) -> Tensor:
        graph = structure(x, graph)
        y = self._neighbourhood(x, graph) + self.bias
        if self.own is not None:
            y = y + times_weight(x, self.own)
        return normalize(y, dim=-1) if self.normalize else y

    def _neighbourhood(self, x: Nodes, graph: Graph) -> Tensor:
        if self.aggregate in ("mean", "gcn"):
            kind: Kind = "mean" if self.aggregate == "mean" else "row"
            return propagation(graph, kind) @ times_weight(x, self.neighbours)
        if self.pool is not None:
            sent = (times_weight(x, self.pool.weight.T) + self.pool.bias).relu()
            return spread(graph, at_sources(graph, sent), "max") @ self.neighbours
        dense = x.dense() if isinstance(x, SparseFeatures) else x
        return self._read_in_turn(dense, graph) @ self.neighbours

    def _read_in_turn(self, x: Tensor, graph: Graph) -> Tensor:
        """The LSTM's last state after each node's neighbours, in a random order.

        Sequences are packed: there is a row for each edge, however many one node has.
        """
        assert self.lstm is not None
        shuffled = torch.randperm(graph.num_edges)
        source, target = graph.edge_index[:, shuffled.to(graph.edge_index.device)]
        count = torch.bincount(target, minlength=graph.num_nodes)
        longest_first = count.argsort(descending=True, stable=True)[: int((count > 0).sum())]
        if not len(longest_first):
            return torch.zeros_like(x)
        by_target = target.argsort(stable=True)
        place = torch.arange(len(target), device=x.device)
        place = place - (count.cumsum(0) - count)[target[by_target]]
        rank = torch.empty_like(count)
        rank[longest_first] = torch.arange(len(longest_first), device=x.device)
        in_turn = (place * len(count) + rank[target[by_target]]).argsort()
        packed = PackedSequence(x[source[by_target[in_turn]]], torch.bincount(place).cpu())
        _, (last, _) = self.lstm(packed)
        return torch.zeros_like(x).index_copy(0, longest_first, last[0])

    def extra_repr(self) -> str:
        return f"{self.neighbours.shape[0]}, {self.neighbours.shape[1]}, {self.aggregate!r}"


class GATConv(nn.Module):
    r"""Each node weighs its neighbours, and itself, by attention.

    $$h'_i = \big\Vert_k \sum_{j \in N(i) \cup \{i\}} \alpha^k_{ij} W^k h_j + b, \qquad
      \alpha_{ij} = \operatorname{softmax}_j \operatorname{LeakyReLU}\bigl(a^\top
      [W h_i \Vert W h_j]\bigr)$$

    Edge weights, where there are any, multiply the attention.

    Args:
        out_features: of each head.
        concat: whether heads stand side by side; else their mean is taken.
        dropout: of the attention weights.
        v2: $a^\top \operatorname{LeakyReLU}(W_t h_i + W_s h_j)$ instead, so that which neighbour
            is preferred may depend on the node that asks.

    Source: Veličković et al. (2018), Graph Attention Networks, arXiv:1710.10903; v2: Brody et al.
    (2022), arXiv:2105.14491.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        heads: int = 8,
        concat: bool = True,
        dropout: float = 0.6,
        negative_slope: float = 0.2,
        v2: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.concat, self.dropout = heads, concat, dropout
        self.negative_slope, self.v2 = negative_slope, v2
        self.weight = nn.Parameter(torch.empty(in_features, heads * out_features))
        self.of_targets = nn.Parameter(torch.empty_like(self.weight)) if v2 else None
        self.attend_source = nn.Parameter(torch.empty(heads, out_features))
        self.attend_target = None if v2 else nn.Parameter(torch.empty(heads, out_features))
        self.bias = nn.Parameter(torch.zeros(heads * out_features if concat else out_features))
        for weight in (self.weight, self.of_targets, self.attend_source, self.attend_target):
            if weight is not None:
                nn.init.xavier_uniform_(weight)

    def forward(self, x: Nodes, graph: Graph | Tensor) -> Tensor:
        looped = with_loops(structure(x, graph))
        h = times_weight(x, self.weight).unflatten(-1, (self.heads, -1))
        alpha = self._attention(x, h, looped)
        alpha = drop(alpha, self.dropout, self.training)
        if looped.edge_weight is not None:
            alpha = alpha * looped.edge_weight[:, None]
        blocks = _of_heads(looped, self.heads)
        y = product(blocks, alpha.flatten(), h.flatten(0, 1)).view_as(h)
        return (y.flatten(1) if self.concat else y.mean(1)) + self.bias

    def attention(self, x: Nodes, graph: Graph | Tensor) -> Tensor:
        """The weights (E + N, heads) of the edges, then of the nodes themselves."""
        looped = with_loops(structure(x, graph))
        h = times_weight(x, self.weight).unflatten(-1, (self.heads, -1))
        return self._attention(x, h, looped)

    def _attention(self, x: Nodes, h: Tensor, looped: Graph) -> Tensor:
        if self.of_targets is not None:
            asks = times_weight(x, self.of_targets).view_as(h)
            both = at_sources(looped, h) + at_targets(looped, asks)
            scores = (leaky_relu(both, self.negative_slope) * self.attend_source).sum(-1)
        else:
            assert self.attend_target is not None
            of_source = at_sources(looped, (h * self.attend_source).sum(-1))
            of_target = at_targets(looped, (h * self.attend_target).sum(-1))
            scores = leaky_relu(of_source + of_target, self.negative_slope)
        return softmax(looped, scores)

    def extra_repr(self) -> str:
        out = self.weight.shape[1] // self.heads
        return f"{self.weight.shape[0]}, {out}, heads={self.heads}, v2={self.v2}"


def _of_heads(graph: Graph, heads: int) -> Sparse:
    """One adjacency per head, interleaved, so that all heads are a single product."""
    key = ("heads", heads)
    if key not in graph.cache:
        head = torch.arange(heads, device=graph.edge_index.device)
        source, target = (end[:, None] * heads + head for end in graph.edge_index)
        size = graph.num_nodes * heads
        graph.cache[key] = Sparse(target.flatten(), source.flatten(), (size, size))
    return graph.cache[key]


class RGCNConv(nn.Module):
    r"""A weight matrix for each kind of edge, and one for the node itself.

    $$h'_i = W_0 h_i + \sum_r \frac{1}{|N_i^r|} \sum_{j \in N_i^r} W_r h_j + b, \qquad
      W_r = \sum_b a_{rb} V_b$$

    Args:
        relations: number of edge types, the numbers in `graph.edge_type`.
        bases: number of shared matrices $V_b$; None gives each relation its own.
        blocks: number of diagonal blocks that the matrices consist of; None means whole ones.

    Source: Schlichtkrull et al. (2018), Modeling Relational Data with Graph Convolutional
    Networks, arXiv:1703.06103.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        relations: int,
        bases: int | None = None,
        blocks: int | None = None,
    ) -> None:
        super().__init__()
        if bases is not None and blocks is not None:
            raise ValueError("bases and blocks are two ways to save weights; choose one of them")
        if blocks is not None and (in_features % blocks or out_features % blocks):
            raise ValueError(
                f"blocks must divide in_features ({in_features}) and out_features "
                f"({out_features}), got {blocks}"
            )
        self.relations, self.blocks = relations, blocks
        cut = blocks or 1
        shape = (in_features, out_features // cut) if blocks else (in_features, out_features)
        self.weight = nn.Parameter(torch.empty(bases or relations, *shape))
        self.mixing = nn.Parameter(torch.empty(relations, bases)) if bases else None
        self.root = nn.Parameter(torch.empty(in_features, out_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        for weight in (*self.weight, self.mixing, self.root):
            if weight is not None:
                nn.init.xavier_uniform_(weight)

    def matrices(self) -> Tensor:
        """$W_r$ of all relations, (relations, in, out)."""
        if self.mixing is not None:
            return torch.einsum("rb,bio->rio", self.mixing, self.weight)
        if self.blocks is None:
            return self.weight
        parts = self.weight.unflatten(1, (self.blocks, -1))
        return torch.stack([torch.block_diag(*of_relation) for of_relation in parts])

    def forward(self, x: Nodes, graph: Graph) -> Tensor:
        matrices = self.matrices()
        side_by_side = matrices.permute(1, 0, 2).flatten(1)  # one product for all relations
        sent = times_weight(x, side_by_side).unflatten(1, (self.relations, -1)).flatten(0, 1)
        where, share = self._shares(graph)
        return product(where, share, sent) + times_weight(x, self.root) + self.bias

    def _shares(self, graph: Graph) -> tuple[Sparse, Tensor]:
        """Targets by (source, relation), each with 1 / |its neighbours of that relation|."""
        kinds = graph.edge_type
        if kinds is None:
            raise ValueError("RGCNConv needs graph.edge_type, the number of each edge's relation")
        if len(kinds) and not (int(kinds.min()) >= 0 and int(kinds.max()) < self.relations):
            raise ValueError(
                f"edge_type must lie in 0 ... {self.relations - 1}, got {int(kinds.max())}; "
                "relations counts the types"
            )
        key = ("relations", self.relations)
        if key not in graph.cache:
            source, target = graph.edge_index
            group = target * self.relations + kinds
            count = torch.bincount(group, minlength=graph.num_nodes * self.relations)
            shape = (graph.num_nodes, graph.num_nodes * self.relations)
            where = Sparse(target, source * self.relations + kinds, shape)
            graph.cache[key] = where, 1 / count[group].to(self.root.dtype)
        return graph.cache[key]

    def extra_repr(self) -> str:
        return f"{self.root.shape[0]}, {self.root.shape[1]}, relations={self.relations}"


class GINConv(nn.Module):
    r"""A sum of neighbours through a network: tells apart what the Weisfeiler-Lehman test can.

    $$h'_i = \operatorname{MLP}\Bigl((1 + \epsilon)\, h_i + \sum_{j \in N(i)} h_j\Bigr)$$

    Mean and maximum forget how many neighbours there are; the sum does not.

    Args:
        network: any module on rows; by default two linear layers with a rectifier between.
        eps: $\epsilon$, learnt if `train_eps`.

    Source: Xu et al. (2019), How Powerful are Graph Neural Networks?, arXiv:1810.00826.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        network: Callable[[Tensor], Tensor] | None = None,
        eps: float = 0.0,
        train_eps: bool = False,
    ) -> None:
        super().__init__()
        self.network = network or nn.Sequential(
            nn.Linear(in_features, out_features), nn.ReLU(), nn.Linear(out_features, out_features)
        )
        self.eps = nn.Parameter(torch.tensor(eps), requires_grad=train_eps)

    def forward(self, x: Nodes, graph: Graph | Tensor) -> Tensor:
        if isinstance(x, SparseFeatures):
            x = x.dense()
        return self.network((1 + self.eps) * x + propagation(structure(x, graph), "sum") @ x)

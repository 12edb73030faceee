"""One primitive for the whole family: multiply by a matrix made from the edges."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from neurarium.data.graph import Graph
from neurarium.graphs.sparse import Sparse, drop, product

__all__ = [
    "Kind",
    "Propagation",
    "SparseFeatures",
    "at_sources",
    "at_targets",
    "features",
    "propagation",
    "softmax",
    "spread",
    "times_weight",
    "with_loops",
]

Kind = Literal[
    "sum",
    "sum+self",
    "row",
    "mean",
    "sym",
    "renormalized",
    "laplacian",
    "scaled_laplacian",
    "combinatorial",
]


@dataclass(frozen=True, eq=False)
class Propagation:
    """A sparse matrix over the nodes: where its entries are, and their values."""

    structure: Sparse
    values: Tensor

    def __matmul__(self, x: Tensor) -> Tensor:
        return product(self.structure, self.values, x)

    def __call__(self, x: Tensor) -> Tensor:
        return self @ x

    def to_dense(self) -> Tensor:
        """The whole matrix, for small graphs."""
        places = (self.structure.row, self.structure.col)
        empty = self.values.new_zeros(self.structure.shape)
        return empty.index_put(places, self.values, accumulate=True)

    def with_values(self, values: Tensor) -> "Propagation":
        """Other values at the same places."""
        return Propagation(self.structure, values)


def propagation(
    graph: Graph, kind: Kind = "renormalized", lambda_max: float | None = 2.0
) -> Propagation:
    r"""The matrix by which a layer multiplies, made once for a graph.

    $$A,\quad A + I,\quad \hat D^{-1}\hat A,\quad D^{-1}A,\quad D^{-1/2} A D^{-1/2},\quad
      \hat D^{-1/2}\hat A\hat D^{-1/2},\quad L = I - D^{-1/2} A D^{-1/2},\quad
      2L/\lambda_{max} - I,\quad D - A$$

    in the order of `Kind`, with $\hat A = A + I$ and $D$ the sums of the rows of $A$. A node
    without neighbours has a row of zeros in $D^{-1}A$ and $D^{-1/2}AD^{-1/2}$.

    Args:
        lambda_max: largest eigenvalue of the Laplacian that "scaled_laplacian" assumes, 2 being
            the bound for every graph; None computes it.

    Raises:
        ValueError: for an unknown kind, or negative weights in a kind that divides by degrees.

    Source: Kipf & Welling (2017), Semi-Supervised Classification with Graph Convolutional
    Networks, arXiv:1609.02907.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"operator must be one of {', '.join(get_args(Kind))}, got {kind!r}")
    key = (kind, lambda_max if kind == "scaled_laplacian" else None)
    constant = graph.edge_weight is None or not graph.edge_weight.requires_grad
    if constant and key in graph.cache:
        return graph.cache[key]
    weight = _weights(graph)
    if kind == "scaled_laplacian":
        made = _scaled_laplacian(graph, lambda_max)
    elif kind == "sum":
        made = Propagation(adjacency(graph), weight)
    else:
        made = _normalized(graph, kind, weight)
    if constant:
        graph.cache[key] = made
    return made


def adjacency(graph: Graph) -> Sparse:
    """Where A has entries: target by source."""
    return _structure(graph, loops=False)


def _structure(graph: Graph, loops: bool) -> Sparse:
    key = "with loops" if loops else "adjacency"
    if key not in graph.cache:
        source, target = graph.edge_index
        if loops:
            every = torch.arange(graph.num_nodes, device=source.device)
            source, target = torch.cat([source, every]), torch.cat([target, every])
        graph.cache[key] = Sparse(target, source, (graph.num_nodes, graph.num_nodes))
    return graph.cache[key]


def _weights(graph: Graph) -> Tensor:
    if graph.edge_weight is not None:
        return graph.edge_weight
    kind = graph.x.dtype if graph.x.is_floating_point() else torch.get_default_dtype()
    return torch.ones(graph.num_edges, dtype=kind, device=graph.edge_index.device)


def _normalized(graph: Graph, kind: str, weight: Tensor) -> Propagation:
    if kind != "sum+self" and bool((weight < 0).any()):
        raise ValueError(
            f"operator {kind!r} divides by degrees, so edge weights must not be negative, got "
            f"{float(weight.min()):g}; use operator='sum', or the weights' absolute values"
        )
    self_loops = kind in ("sum+self", "row", "renormalized")
    target = graph.edge_index[1]
    ones = weight.new_ones(graph.num_nodes)
    values = torch.cat([weight, ones]) if self_loops else weight
    degree = weight.new_zeros(graph.num_nodes).index_add(0, target, weight)
    if self_loops:
        degree = degree + 1
    if kind == "sum+self":
        return Propagation(_structure(graph, loops=True), values)
    if kind == "combinatorial":
        return Propagation(_structure(graph, loops=True), torch.cat([-weight, degree]))
    structure = _structure(graph, loops=self_loops)
    if kind in ("row", "mean"):
        inverse = _power(degree, -1.0)
        return Propagation(structure, values * inverse[structure.row])
    root = _power(degree, -0.5)
    values = root[structure.row] * values * root[structure.col]
    if kind == "laplacian":
        return Propagation(_structure(graph, loops=True), torch.cat([-values, ones]))
    return Propagation(structure, values)


def _power(degree: Tensor, exponent: float) -> Tensor:
    """Degrees to a negative power, 0 for nodes without edges."""
    return torch.where(degree > 0, degree.clamp(min=torch.finfo(degree.dtype).tiny), 1.0).pow(
        exponent
    ) * (degree > 0)


def _scaled_laplacian(graph: Graph, lambda_max: float | None) -> Propagation:
    laplacian = propagation(graph, "laplacian")
    if lambda_max is None:
        lambda_max = largest_eigenvalue(laplacian)
    if not lambda_max > 0:
        raise ValueError(f"lambda_max must be positive, got {lambda_max}; 2 bounds every graph's")
    nodes = graph.num_nodes
    values = laplacian.values * (2 / lambda_max)
    values = torch.cat([values[:-nodes], values[-nodes:] - 1])  # the loops come last
    return laplacian.with_values(values)


@torch.no_grad()
def largest_eigenvalue(matrix: Propagation, steps: int = 200) -> float:
    """By power iteration, a hair too large: Chebyshev polynomials explode beyond it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(matrix.structure.shape[0], 1, generator=generator).to(matrix.values)
    value = 0.0
    for _ in range(steps):
        x = x / x.norm().clamp(min=1e-30)
        y = matrix @ x
        value = float((x * y).sum())
        x = y
    return max(value, 1e-6) * 1.01


def with_loops(graph: Graph) -> Graph:
    """The same graph with an edge from every node to itself, after the others."""
    if "looped" not in graph.cache:
        every = torch.arange(graph.num_nodes, device=graph.edge_index.device).expand(2, -1)
        weight = graph.edge_weight
        if weight is not None:
            weight = torch.cat([weight, weight.new_ones(graph.num_nodes)])
        looped = graph.with_edges(torch.cat([graph.edge_index, every], 1), edge_weight=weight)
        if weight is not None and weight.requires_grad:
            return looped
        graph.cache["looped"] = looped
    return graph.cache["looped"]


def _incidence(graph: Graph, end: int) -> Sparse:
    """Which node (column) an edge (row) comes from, `end` 0, or goes to, 1."""
    key = ("incidence", end)
    if key not in graph.cache:
        edges = torch.arange(graph.num_edges, device=graph.edge_index.device)
        shape = (graph.num_edges, graph.num_nodes)
        graph.cache[key] = Sparse(edges, graph.edge_index[end], shape)
    return graph.cache[key]


def _ones(graph: Graph, like: Tensor) -> Tensor:
    key = ("ones", like.dtype)
    if key not in graph.cache:
        graph.cache[key] = like.new_ones(graph.num_edges)
    return graph.cache[key]


def at_sources(graph: Graph, h: Tensor) -> Tensor:
    """For each edge what the node says that it comes from: `h[source]`, quick to differentiate."""
    return _at(graph, h, 0)


def at_targets(graph: Graph, h: Tensor) -> Tensor:
    """For each edge what the node says that it goes to: `h[target]`, quick to differentiate."""
    return _at(graph, h, 1)


def _at(graph: Graph, h: Tensor, end: int) -> Tensor:
    if not h.requires_grad:
        return h[graph.edge_index[end]]
    flat = product(_incidence(graph, end), _ones(graph, h), h.reshape(len(h), -1))
    return flat.view(graph.num_edges, *h.shape[1:])


def spread(
    graph: Graph, messages: Tensor, how: Literal["sum", "mean", "max", "min"] = "sum"
) -> Tensor:
    r"""Bring together at each node what the edges to it carry.

    $$m_i = \bigoplus_{e = (j \to i)} m_e, \qquad \bigoplus \in \{\textstyle\sum, \text{mean},
      \max, \min\}$$

    A node without incoming edges gets zeros.

    Args:
        messages: (E, ...), one per edge.

    Source: Gilmer et al. (2017), Neural Message Passing for Quantum Chemistry, arXiv:1704.01212.
    """
    if how not in ("sum", "mean", "max", "min"):
        raise ValueError(f"how must be sum, mean, max or min, got {how!r}")
    target, shape = graph.edge_index[1], (graph.num_nodes, *messages.shape[1:])
    column = (-1, *[1] * (messages.ndim - 1))
    if how in ("max", "min"):
        index = target.view(column).expand_as(messages)
        empty = messages.new_zeros(shape)
        return empty.scatter_reduce(0, index, messages, "a" + how, include_self=False)
    ones = _ones(graph, messages)
    total = product(
        _incidence(graph, 1).transposed, ones, messages.reshape(len(messages), -1)
    ).view(shape)
    if how == "sum":
        return total
    return total / torch.bincount(target, minlength=graph.num_nodes).clamp(min=1).view(column)


def softmax(graph: Graph, scores: Tensor) -> Tensor:
    r"""Softmax among the edges that go to the same node, the largest subtracted first.

    $$\alpha_e = \frac{e^{s_e}}{\sum_{e': target_{e'} = target_e} e^{s_{e'}}}$$

    Args:
        scores: (E, ...), one or several per edge.

    Source: Veličković et al. (2018), Graph Attention Networks, arXiv:1710.10903.
    """
    highest = spread(graph, scores.detach(), "max")
    exponential = (scores - at_targets(graph, highest)).exp()
    return exponential / at_targets(graph, spread(graph, exponential))


# Features that stay sparse


@dataclass(frozen=True, eq=False)
class SparseFeatures:
    """Bags of words: places kept, values exchangeable."""

    structure: Sparse
    values: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return self.structure.shape

    def dense(self) -> Tensor:
        """As an ordinary matrix."""
        empty = self.values.new_zeros(self.shape)
        return empty.index_put((self.structure.row, self.structure.col), self.values)


def features(graph: Graph, dropout: float = 0.0, training: bool = False) -> Tensor | SparseFeatures:
    """The graph's features with dropout on them; of sparse ones on the values alone.

    Dropping a zero changes nothing, and of Cora's 3.9 million entries 49 thousand are not zero.
    """
    if not graph.x.is_sparse_csr:
        return drop(graph.x, dropout, training)
    if "features" not in graph.cache:
        x = graph.x
        crow, col = x.crow_indices().long(), x.col_indices().long()
        row = torch.repeat_interleave(torch.arange(len(x), device=x.device), crow.diff())
        graph.cache["features"] = Sparse(row, col, (x.shape[0], x.shape[1]))
    values = drop(graph.x.values(), dropout, training)
    return SparseFeatures(graph.cache["features"], values)


def times_weight(x: Tensor | SparseFeatures, weight: Tensor) -> Tensor:
    """Dense or sparse features times a weight matrix (in, out)."""
    if isinstance(x, SparseFeatures):
        return product(x.structure, x.values, weight)
    return x @ weight

"""A graph as tensors, under PyG's names; several graphs side by side are one graph."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Graph", "as_graph"]

_OF_NODES = ("x", "y", "pos", "batch", "train_mask", "val_mask", "test_mask")
_OF_EDGES = ("edge_attr", "edge_weight", "edge_type")
_MASKS = ("train_mask", "val_mask", "test_mask")


class NotRowsError(AttributeError, ValueError):
    """A graph met what reads tensors."""


@dataclass(eq=False)
class Graph:
    r"""Nodes with features and directed edges between them.

    $$A_{ij} = \sum_{(j \to i) \in E} w_{ji}$$

    Messages flow from row 0 of `edge_index` (source j) to row 1 (target i), so $A H$ sums over the
    neighbours that point to a node. An undirected graph holds both directions. Edges that come
    twice count twice, as in any sparse matrix; the readers of files drop them and loops.

    Args:
        x: features (N, F); dense, or sparse in CSR form, such as bags of words.
        edge_index: (2, E) node numbers.
        edge_attr: features of the edges (E, D).
        edge_weight: (E,), 1 if not given.
        edge_type: (E,) numbers of relations.
        y: targets of the nodes (N, ...), or of the graphs (B, ...).
        pos: coordinates (N, D).
        batch: (N,) the number of the graph that a node belongs to, of several.
        train_mask, val_mask, test_mask: (N,) which nodes' targets are used for what.
        nodes: numbers of the nodes whose answers are wanted, or pairs (n, 2) of them; None means
            all.

    Raises:
        ValueError: for edges to unknown nodes, lengths that do not fit and masks that overlap.

    Source: Fey & Lenssen (2019), Fast Graph Representation Learning with PyTorch Geometric,
    arXiv:1903.02428 (names and orientation).
    """

    x: Tensor
    edge_index: Tensor
    edge_attr: Tensor | None = None
    edge_weight: Tensor | None = None
    edge_type: Tensor | None = None
    y: Tensor | None = None
    pos: Tensor | None = None
    batch: Tensor | None = None
    train_mask: Tensor | None = None
    val_mask: Tensor | None = None
    test_mask: Tensor | None = None
    nodes: Tensor | None = None
    # What was derived from features and edges, shared by every view of the same graph.
    cache: dict[Any, Any] = field(default_factory=dict, repr=False)
    checked: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        if not self.checked:
            _check(self)
            self.checked = True

    def __getattr__(self, name: str) -> Any:
        # Reached where a network for rows of numbers takes a graph for a tensor.
        if not name.startswith("_") and hasattr(Tensor, name):
            raise NotRowsError(
                f"this network reads rows of numbers (it asks for '{name}'), but the data is a "
                "graph; choose GCN, GAT, GraphSAGE, GIN or GraphNetwork (with conv=ChebConv:K=1 "
                "it ignores the edges)"
            )
        raise AttributeError(f"a Graph has no '{name}'")

    @property
    def num_nodes(self) -> int:
        return self.x.shape[0]

    @property
    def num_edges(self) -> int:
        return self.edge_index.shape[1]

    @property
    def num_graphs(self) -> int:
        """How many graphs `batch` tells apart."""
        if self.batch is None:
            return 1
        if "num_graphs" not in self.cache:
            self.cache["num_graphs"] = int(self.batch.max()) + 1 if len(self.batch) else 0
        return self.cache["num_graphs"]

    def __len__(self) -> int:
        """The number of answers wanted: graphs of a batch, else nodes."""
        if self.nodes is not None:
            return len(self.nodes)
        return self.num_graphs if self.batch is not None else self.num_nodes

    @property
    def shape(self) -> torch.Size:
        """Answers by features: what a batch of rows with these features would have."""
        return torch.Size((len(self), self.x.shape[1]))

    @property
    def ndim(self) -> int:
        return 2

    def __getitem__(self, rows: slice | Tensor) -> "Graph":
        """The same graph, asked about some of the answers only."""
        asked = self.nodes
        if asked is None:
            if self.batch is not None:
                raise ValueError("a batch of graphs cannot be cut; make the batches smaller")
            asked = torch.arange(self.num_nodes, device=self.edge_index.device)
        return self.asking(asked[rows])

    def asking(self, nodes: Tensor | None) -> "Graph":
        """The same graph, asked about these nodes, or pairs of nodes."""
        return replace(self, nodes=nodes)

    def answers(self, h: Tensor) -> Tensor:
        """The rows of a model's output on all nodes that were asked for."""
        return h if self.nodes is None else h[self.nodes]

    def with_edges(self, edge_index: Tensor, **of_edges: Tensor | None) -> "Graph":
        """Other edges between the same nodes; `edge_attr`, `edge_weight`, `edge_type` anew."""
        cleared = dict.fromkeys(_OF_EDGES) | of_edges
        kept = {k: v for k, v in self.cache.items() if k == "num_graphs" or k == "features"}
        return replace(self, edge_index=edge_index, **cleared, cache=kept, checked=False)  # type: ignore[arg-type]

    def to(self, device: Any, non_blocking: bool = False) -> "Graph":
        """The graph on another device (itself, if it is there)."""
        if self.edge_index.device == torch.device(device):
            return self
        moved: dict[str, Any] = {
            f.name: value.to(device, non_blocking=non_blocking)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved, cache={})

    # Other forms

    def to_dense(self) -> Tensor:
        """The adjacency matrix (N, N) whose row i holds what points to node i."""
        kind, device = _weight_type(self), self.edge_index.device
        dense = torch.zeros(self.num_nodes, self.num_nodes, dtype=kind, device=device)
        source, target = self.edge_index
        weight = dense.new_ones(self.num_edges) if self.edge_weight is None else self.edge_weight
        return dense.index_put((target, source), weight, accumulate=True)

    @classmethod
    def from_dense(cls, x: Tensor, adjacency: Tensor, **rest: Any) -> "Graph":
        """From an adjacency matrix; entries other than 1 become weights."""
        target, source = adjacency.nonzero(as_tuple=True)
        weight = adjacency[target, source]
        plain = bool((weight == 1).all())
        edge_index = torch.stack([source, target])
        return cls(x, edge_index, edge_weight=None if plain else weight, **rest)

    @classmethod
    def from_networkx(
        cls, graph: Any, features: Sequence[str] = (), target: str | None = None
    ) -> "Graph":
        """From a networkx graph: its node order, `weight` of its edges where they have one.

        Args:
            features: numeric node attributes that become the columns of `x`; without any, every
                node is its own feature.
            target: the node attribute that becomes `y`.
        """
        nodes = list(graph.nodes)
        number = {node: i for i, node in enumerate(nodes)}
        edges = [(number[u], number[v], d.get("weight")) for u, v, d in graph.edges(data=True)]
        pairs = torch.tensor([e[:2] for e in edges], dtype=torch.long).reshape(-1, 2).T
        given = [e[2] for e in edges]
        if any(w is None for w in given) and any(w is not None for w in given):
            raise ValueError("some edges of this networkx graph have a weight and others none")
        weight = (
            torch.tensor(given, dtype=torch.float32) if given and given[0] is not None else None
        )
        if not graph.is_directed():  # both directions, a loop once
            once = pairs[0] != pairs[1]
            if weight is not None:
                weight = torch.cat([weight, weight[once]])
            pairs = torch.cat([pairs, pairs.flip(0)[:, once]], 1)
        columns = [[float(graph.nodes[n][f]) for f in features] for n in nodes]
        x = torch.tensor(columns) if features else _identity(len(nodes))
        y = None
        if target is not None:
            labels = [graph.nodes[n][target] for n in nodes]
            if any(isinstance(label, float) for label in labels):
                y = torch.tensor(labels, dtype=torch.float32)
            else:
                y = torch.from_numpy(np.unique(labels, return_inverse=True)[1])
        return cls(x, pairs, edge_weight=weight, y=y)

    @classmethod
    def collate(cls, graphs: Sequence["Graph"]) -> "Graph":
        """Graphs side by side without edges between them; `batch` tells whose a node is."""
        if not graphs:
            raise ValueError("there must be at least one graph to put into a batch, got none")
        sizes = torch.tensor([g.num_nodes for g in graphs])
        starts = torch.cumsum(sizes, 0) - sizes
        joined: dict[str, Any] = {
            "edge_index": torch.cat(
                [g.edge_index + start for g, start in zip(graphs, starts, strict=True)], 1
            ),
            "batch": torch.repeat_interleave(torch.arange(len(graphs)), sizes),
        }
        for name in ("x", "y", "pos", *_OF_EDGES):
            values = [getattr(g, name) for g in graphs]
            if values[0] is not None:
                joined[name] = torch.cat([v.to_dense() if v.is_sparse_csr else v for v in values])
        return cls(**joined, cache={"num_graphs": len(graphs)}, checked=True)


def as_graph(found: Any) -> Graph:
    """A graph from what users have: a `Graph`, a networkx graph, PyG's `Data`.

    Neither library is imported; they are known by what they offer.
    """
    if isinstance(found, Graph):
        return found
    if hasattr(found, "edge_index"):
        names = {f.name for f in fields(Graph)} - {"cache", "checked", "nodes"}
        given: dict[str, Any] = {name: getattr(found, name, None) for name in names}
        given = {name: v for name, v in given.items() if isinstance(v, Tensor)}
        return Graph(**{"x": _identity(found.num_nodes), **given})
    if hasattr(found, "nodes") and hasattr(found, "is_directed"):
        return Graph.from_networkx(found)
    raise TypeError(
        f"a graph must be a Graph, a networkx graph or PyG's Data, got {type(found).__name__}; "
        "Graph(x, edge_index) makes one from tensors"
    )


def _identity(nodes: int) -> Tensor:
    """Features that only tell nodes apart, in CSR form."""
    numbers = torch.arange(nodes + 1)
    return csr(numbers, numbers[:-1], torch.ones(nodes), (nodes, nodes))


def csr(rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """A sparse matrix in CSR form, without torch's note that the form is young."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*beta state", category=UserWarning)
        return torch.sparse_csr_tensor(rows, columns, values, shape, check_invariants=False)


def _weight_type(graph: Graph) -> torch.dtype:
    kind = graph.x.dtype if graph.edge_weight is None else graph.edge_weight.dtype
    return kind if kind.is_floating_point else torch.get_default_dtype()


def _check(graph: Graph) -> None:
    edges, nodes = graph.edge_index, graph.num_nodes
    if graph.x.ndim != 2:
        raise ValueError(
            f"x must have one row of features per node, got shape {tuple(graph.x.shape)}"
        )
    if edges.ndim != 2 or edges.shape[0] != 2 or edges.dtype != torch.long:
        raise ValueError(
            "edge_index must be an int64 tensor of shape (2, edges), sources above targets, got "
            f"{edges.dtype} of shape {tuple(edges.shape)}"
        )
    if edges.numel() and not (int(edges.min()) >= 0 and int(edges.max()) < nodes):
        wrong = int(edges.max()) if int(edges.max()) >= nodes else int(edges.min())
        raise ValueError(
            f"edge_index names node {wrong}, but x has {nodes} rows, numbered from 0; "
            "drop that edge or add the node's features"
        )
    for name in _OF_EDGES:
        _check_length(name, getattr(graph, name), edges.shape[1], "edge")
    for name in ("pos", "batch", *_MASKS):
        _check_length(name, getattr(graph, name), nodes, "node")
    _check_masks(graph)


def _check_length(name: str, value: Tensor | None, length: int, what: str) -> None:
    if value is not None and len(value) != length:
        raise ValueError(f"{name} must have one entry per {what} ({length}), got {len(value)}")


def _check_masks(graph: Graph) -> None:
    masks = [(name, getattr(graph, name)) for name in _MASKS if getattr(graph, name) is not None]
    for i, (first, a) in enumerate(masks):
        if a.dtype != torch.bool:
            raise ValueError(f"{first} must be boolean, got {a.dtype}; True marks a node of it")
        for second, b in masks[i + 1 :]:
            both = int((a & b).sum()) if b.dtype == torch.bool else 0
            if both:
                raise ValueError(
                    f"{first} and {second} share {both} nodes; what is trained on must not judge"
                )

"""Whole networks on graphs: layers in a row, features in, answers of the nodes asked for out."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

from torch import Tensor, nn

from neurarium import activations
from neurarium._names import resolve
from neurarium.data.graph import Graph
from neurarium.graphs import monet, spatial, spectral
from neurarium.graphs.pool import AttentionPool, pool
from neurarium.graphs.propagate import (
    Kind,
    SparseFeatures,
    features,
    propagation,
    times_weight,
)
from neurarium.graphs.sparse import drop
from neurarium.networks import MLP
from neurarium.networks._config import remember

__all__ = ["GAT", "GCN", "GIN", "ConcatAdjacency", "GraphNetwork", "GraphSAGE"]

Conv = Callable[[int, int], nn.Module]
Readout = Literal["sum", "mean", "max", "attention"]


class _Layers(nn.Module):
    """Convolutions with an activation between and dropout before each."""

    dropout: float

    def _finish(self, convs: Sequence[nn.Module], activation: str) -> None:
        self.convs = nn.ModuleList(convs)
        self.act = activations.module(activation)

    def forward(self, graph: Graph | Tensor, edge_index: Tensor | None = None) -> Tensor:
        graph = network_input(self, graph, edge_index)
        return graph.answers(self.hidden_of(graph))

    def hidden_of(self, graph: Graph) -> Tensor:
        """The last layer's output on every node."""
        h: Any = features(graph, self.dropout, self.training)
        for conv in self.convs[:-1]:
            h = drop(self.act(conv(h, graph)), self.dropout, self.training)
        return self.convs[-1](h, graph)

    @classmethod
    def for_data(
        cls,
        input_shape: Sequence[int],
        outputs: int,
        categories: Sequence[int] = (),
        **arguments: Any,
    ) -> "_Layers":
        """A network between these features and outputs."""
        return cls(input_shape[-1], out_features=outputs, **arguments)


def network_input(
    network: nn.Module, graph: Graph | Tensor, edge_index: Tensor | None = None
) -> Graph:
    """The graph; or one of features and edges, as PyTorch Geometric's models are called."""
    if isinstance(graph, Tensor) and edge_index is not None:
        return Graph(graph, edge_index)
    if not isinstance(graph, Graph):
        raise TypeError(
            f"{type(network).__name__} reads graphs, got {type(graph).__name__}; load a folder of "
            "Planetoid files or a node table with edges=, or pass a Graph"
        )
    return graph


def _sizes(in_features: int, hidden: int, out_features: int, layers: int) -> list[tuple[int, int]]:
    if layers < 1:
        raise ValueError(f"layers must be at least 1, got {layers}")
    return list(pairwise([in_features, *[hidden] * (layers - 1), out_features]))


class GCN(_Layers):
    r"""The graph convolutional network: mix with neighbours, transform, rectify, again.

    $$H_{l+1} = \sigma\bigl(\hat D^{-1/2} \hat A \hat D^{-1/2} H_l W_l\bigr), \qquad
      \hat A = A + I,\; H_0 = X$$

    Dropout falls on the input of every layer. More than four or so layers smooth all nodes of a
    component into one.

    Args:
        layers: number of convolutions.
        operator: what is multiplied by, see `propagation`; the other rungs of the ladder.

    Source: Kipf & Welling (2017), Semi-Supervised Classification with Graph Convolutional
    Networks, arXiv:1609.02907.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int = 16,
        out_features: int = 2,
        layers: int = 2,
        dropout: float = 0.5,
        operator: Kind = "renormalized",
        activation: str = "relu",
    ) -> None:
        super().__init__()
        remember(self, in_features=in_features, hidden=hidden, out_features=out_features)
        remember(self, layers=layers, dropout=dropout, operator=operator, activation=activation)
        sizes = _sizes(in_features, hidden, out_features, layers)
        self._finish([spatial.GraphConv(*size, operator=operator) for size in sizes], activation)


class GraphSAGE(_Layers):
    r"""Sample and aggregate: nodes and their neighbourhoods transformed apart.

    $$H_{l+1} = \sigma\bigl(H_l W_l + D^{-1} A H_l V_l + b_l\bigr)$$

    With `data.NeighborLoader` it learns on graphs of any size, and answers for nodes that were not
    there in training.

    Args:
        aggregate: "mean", "gcn", "pool" or "lstm", see `SAGEConv`.
        normalize: whether every hidden layer's output is scaled to length 1, as in the paper.

    Source: Hamilton, Ying & Leskovec (2017), Inductive Representation Learning on Large Graphs,
    arXiv:1706.02216.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int = 16,
        out_features: int = 2,
        layers: int = 2,
        dropout: float = 0.5,
        aggregate: Literal["mean", "gcn", "pool", "lstm"] = "mean",
        normalize: bool = False,
    ) -> None:
        super().__init__()
        remember(self, in_features=in_features, hidden=hidden, out_features=out_features)
        remember(self, layers=layers, dropout=dropout, aggregate=aggregate, normalize=normalize)
        sizes = _sizes(in_features, hidden, out_features, layers)
        last = len(sizes) - 1
        self._finish(
            [
                spatial.SAGEConv(*size, aggregate=aggregate, normalize=normalize and i < last)
                for i, size in enumerate(sizes)
            ],
            "relu",
        )


class GAT(_Layers):
    r"""The graph attention network: heads side by side, then one that answers.

    $$h'_i = \big\Vert_{k=1}^{K} \operatorname{ELU}\Bigl(\sum_{j \in N(i) \cup \{i\}}
      \alpha^k_{ij} W^k h_j\Bigr), \qquad y_i = \frac{1}{K'} \sum_{k=1}^{K'} \sum_j
      \alpha'^k_{ij} W'^k h'_j$$

    Args:
        hidden: width of each head.
        heads: of the hidden layers; the last has `out_heads`, of which the mean is taken.
        v2: attention whose ranking depends on who asks, see `GATConv`.

    Source: Veličković et al. (2018), Graph Attention Networks, arXiv:1710.10903.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int = 8,
        out_features: int = 2,
        layers: int = 2,
        heads: int = 8,
        out_heads: int = 1,
        dropout: float = 0.6,
        v2: bool = False,
    ) -> None:
        super().__init__()
        remember(self, in_features=in_features, hidden=hidden, out_features=out_features)
        remember(self, layers=layers, heads=heads, out_heads=out_heads, dropout=dropout, v2=v2)
        sizes = _sizes(in_features, hidden, out_features, layers)
        convs = []
        for i, (inputs, outputs) in enumerate(sizes):
            wide = inputs * heads if i else inputs
            hidden_layer = i < len(sizes) - 1
            used = heads if hidden_layer else out_heads
            convs.append(spatial.GATConv(wide, outputs, used, hidden_layer, dropout, v2=v2))
        self._finish(convs, "elu")


class GIN(nn.Module):
    r"""The graph isomorphism network, for whole graphs: sums all the way, every depth read out.

    $$y = \sum_{l=0}^{L} W_l \sum_{i \in g} h_i^{(l)} + b_l, \qquad h_i^{(l+1)} =
      \operatorname{MLP}_l\Bigl((1 + \epsilon_l) h_i^{(l)} + \sum_{j \in N(i)} h_j^{(l)}\Bigr)$$

    Args:
        readout: "sum", "mean" or "max" over the nodes of a graph.

    Source: Xu et al. (2019), How Powerful are Graph Neural Networks?, arXiv:1810.00826.
    """

    readout: Literal["sum", "mean", "max"]
    dropout: float

    def __init__(
        self,
        in_features: int,
        hidden: int = 64,
        out_features: int = 2,
        layers: int = 4,
        dropout: float = 0.0,
        readout: Literal["sum", "mean", "max"] = "sum",
        norm: Literal["batch"] | None = "batch",
    ) -> None:
        super().__init__()
        remember(self, in_features=in_features, hidden=hidden, out_features=out_features)
        remember(self, layers=layers, dropout=dropout, readout=readout, norm=norm)
        widths = [in_features, *[hidden] * layers]
        self.convs = nn.ModuleList(
            spatial.GINConv(a, b, MLP([a, b, b], norm=norm), train_eps=True)
            for a, b in pairwise(widths)
        )
        self.heads = nn.ModuleList(nn.Linear(width, out_features) for width in widths)

    @classmethod
    def for_data(
        cls, input_shape: Sequence[int], outputs: int, categories: Sequence[int] = (), **more: Any
    ) -> "GIN":
        """A network between these features and outputs."""
        return cls(input_shape[-1], out_features=outputs, **more)

    def forward(self, graph: Graph | Tensor, edge_index: Tensor | None = None) -> Tensor:
        graph = network_input(self, graph, edge_index)
        h: Any = features(graph)
        h = h.dense() if isinstance(h, SparseFeatures) else h
        answer = self.heads[0](pool(h, graph, self.readout))
        for conv, head in zip(self.convs, self.heads[1:], strict=True):
            h = conv(h, graph).relu()
            read = drop(pool(h, graph, self.readout), self.dropout, self.training)
            answer = answer + head(read)
        return answer


class GraphNetwork(_Layers):
    r"""Any convolution of this family, layer upon layer.

    $$H_{l+1} = \sigma\bigl(\operatorname{conv}_l(H_l, G)\bigr), \qquad
      y = H_L \;\text{ or }\; y = W\, \operatorname{pool}(H_L) + b$$

    Args:
        conv: a callable `(in_features, out_features) -> layer`, or the name of a layer, its
            arguments after a colon: "ChebConv:K=3", "CayleyConv:order=2".
        readout: "sum", "mean", "max" or "attention", for answers about whole graphs; None for
            answers about nodes.

    Source: Gilmer et al. (2017), Neural Message Passing for Quantum Chemistry, arXiv:1704.01212.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int = 16,
        out_features: int = 2,
        layers: int = 2,
        conv: str | Conv = "GraphConv",
        dropout: float = 0.5,
        activation: str = "relu",
        readout: Readout | None = None,
    ) -> None:
        super().__init__()
        remember(self, in_features=in_features, hidden=hidden, out_features=out_features)
        remember(self, layers=layers, conv=conv, dropout=dropout)
        remember(self, activation=activation, readout=readout)
        make = resolve(conv, CONVS, "conv")
        last = out_features if readout is None else hidden
        self._finish(
            [make(*size) for size in _sizes(in_features, hidden, last, layers)], activation
        )
        self.attend = AttentionPool(hidden) if readout == "attention" else None
        self.head = None if readout is None else nn.Linear(hidden, out_features)

    def forward(self, graph: Graph | Tensor, edge_index: Tensor | None = None) -> Tensor:
        graph = network_input(self, graph, edge_index)
        h = self.hidden_of(graph)
        if self.head is None:
            return graph.answers(h)
        h = self.act(h)
        assert self.readout is not None
        how = self.readout
        pooled = self.attend(h, graph) if self.attend is not None else pool(h, graph, how)
        return self.head(drop(pooled, self.dropout, self.training))

    readout: Any


CONVS = {
    name: getattr(module, name)
    for module in (spatial, spectral, monet)
    for name in module.__all__
    if name.endswith("Conv")
}


class ConcatAdjacency(nn.Module):
    r"""The naive idea: a node's row of the adjacency matrix as further features of a network.

    $$Y = \operatorname{MLP}([X, A])$$

    Kept as the counter-example: its parameters grow with the nodes, renumbering the nodes changes
    the answer, and it cannot be asked about another graph.

    Source: Kipf (2016), Graph Convolutional Networks, https://tkipf.github.io (where the notes
    took it from).
    """

    nodes: int
    dropout: float

    def __init__(
        self,
        in_features: int,
        nodes: int,
        hidden: int = 16,
        out_features: int = 2,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        remember(self, in_features=in_features, nodes=nodes, hidden=hidden)
        remember(self, out_features=out_features, dropout=dropout)
        self.of_features = nn.Linear(in_features, hidden)
        self.of_neighbours = nn.Linear(nodes, hidden, bias=False)
        self.out = nn.Linear(hidden, out_features)

    def forward(self, graph: Graph | Tensor, edge_index: Tensor | None = None) -> Tensor:
        graph = network_input(self, graph, edge_index)
        if graph.num_nodes != self.nodes:
            raise ValueError(
                f"[X, A] was made for {self.nodes} nodes, this graph has {graph.num_nodes}; that "
                "is its fault: use GCN, which knows no number of nodes"
            )
        x = features(graph, self.dropout, self.training)
        rows = propagation(graph, "sum")
        rows = rows.with_values(drop(rows.values, self.dropout, self.training))
        h = times_weight(x, self.of_features.weight.T) + rows @ self.of_neighbours.weight.T
        h = drop((h + self.of_features.bias).relu(), self.dropout, self.training)
        return graph.answers(self.out(h))

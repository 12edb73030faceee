"""Graphs larger than a step can hold: neighbourhoods drawn around the nodes that are asked."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from neurarium.data.graph import Graph, csr
from neurarium.graphs.propagate import Propagation

__all__ = ["ClusterLoader", "LayerSampler", "NeighborLoader", "sample_subgraph"]


class NeighborLoader:
    r"""Batches of nodes, each with a drawn neighbourhood that is as deep as the network.

    $$\hat m_i = \frac{1}{|S_i|} \sum_{j \in S_i} h_j, \qquad S_i \subset N(i) \text{ drawn without
      replacement},\; |S_i| = \min(S, |N(i)|)$$

    which has the mean of all neighbours for its expectation. A batch is a mapping with `input`, a
    `Graph` asked about its first nodes, and `target`: what `fit` takes as a split.

    Args:
        graph: whose edges lead to a node from its neighbours; memory is that of its tensors.
        fanout: neighbours of a node at each hop, the nearest first; -1 takes all.
        nodes: the nodes that are asked about; by default those of `train_mask`.
        shuffle: whether to draw their order anew for each pass.

    Source: Hamilton, Ying & Leskovec (2017), Inductive Representation Learning on Large Graphs,
    arXiv:1706.02216.
    """

    def __init__(
        self,
        graph: Graph,
        fanout: Sequence[int] = (25, 10),
        batch_size: int = 512,
        nodes: Tensor | None = None,
        shuffle: bool = True,
    ) -> None:
        if any(size == 0 or size < -1 for size in fanout) or not fanout:
            raise ValueError(
                f"fanout must hold a positive number, or -1 for all, for each hop, got {fanout}"
            )
        self.graph, self.fanout, self.batch_size = graph, tuple(fanout), batch_size
        self.nodes, self.shuffle = _wanted(graph, nodes), shuffle
        self.neighbours = Neighbours(graph)

    def __len__(self) -> int:
        return -(-len(self.nodes) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor | Graph]]:
        order = torch.randperm(len(self.nodes)) if self.shuffle else torch.arange(len(self.nodes))
        for part in order.split(self.batch_size):
            seeds = self.nodes[part]
            batch: dict[str, Tensor | Graph] = {"input": self.sample(seeds)}
            if self.graph.y is not None:
                batch["target"] = self.graph.y[seeds]
            yield batch

    def sample(self, seeds: Tensor) -> Graph:
        """The block around these nodes, which are its first."""
        generator = np.random.default_rng(int(torch.randint(2**62, ())))
        nodes, edges, numbers = self.neighbours.around(seeds.numpy(), self.fanout, generator)
        return _block(self.graph, nodes, edges, numbers, len(seeds))


class Neighbours:
    """Incoming edges by node, in compressed rows; the arrays may be memory-mapped."""

    def __init__(self, graph: Graph) -> None:
        source, target = graph.edge_index.cpu().numpy()
        order = np.argsort(target, kind="stable")
        self.sources, self.edges = source[order], order
        counts = np.bincount(target, minlength=graph.num_nodes)
        self.starts = np.concatenate([[0], np.cumsum(counts)])
        self.place = np.full(graph.num_nodes, -1)  # of a node in the block being made

    def around(
        self, seeds: np.ndarray, fanout: Sequence[int], generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Nodes of the block, its edges by their places there, and the edges' own numbers."""
        nodes = [seeds]
        self.place[seeds] = np.arange(len(seeds))
        known, frontier = len(seeds), seeds
        sources, targets, numbers = [], [], []
        for size in fanout:
            slots, targets_here = self._draw(frontier, size, generator)
            found = self.sources[slots]
            new = np.unique(found[self.place[found] < 0])
            self.place[new] = np.arange(known, known + len(new))
            sources.append(self.place[found])
            targets.append(self.place[targets_here])
            numbers.append(self.edges[slots])
            nodes.append(new)
            known, frontier = known + len(new), new
        whole = np.concatenate(nodes)
        self.place[whole] = -1
        edges = np.stack([np.concatenate(sources), np.concatenate(targets)])
        return whole, edges, np.concatenate(numbers)

    def among(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The edges among these nodes, by their places there, and the edges' own numbers."""
        self.place[nodes] = np.arange(len(nodes))
        count = self.starts[nodes + 1] - self.starts[nodes]
        slots = _ranges(self.starts[nodes], count)
        targets = np.repeat(np.arange(len(nodes)), count)
        sources = self.place[self.sources[slots]]
        self.place[nodes] = -1
        inside = sources >= 0
        return np.stack([sources[inside], targets[inside]]), self.edges[slots[inside]]

    def _draw(
        self, nodes: np.ndarray, size: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Slots of drawn incoming edges, without replacement, and the node each leads to."""
        start, count = self.starts[nodes], self.starts[nodes + 1] - self.starts[nodes]
        few = count <= size if size > 0 else np.ones(len(nodes), bool)
        slots = [_ranges(start[few], count[few])]
        targets = [np.repeat(nodes[few], count[few])]
        many = ~few
        if many.any():
            slots.append((start[many, None] + _choose(count[many], size, generator)).ravel())
            targets.append(np.repeat(nodes[many], size))
        return np.concatenate(slots), np.concatenate(targets)


def _ranges(start: np.ndarray, count: np.ndarray) -> np.ndarray:
    """start, start + 1, ... count of them, one after another."""
    ends = np.cumsum(count)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(start - (ends - count), count)


def _choose(count: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """For each count, `size` different numbers below it (Floyd's algorithm, all rows at once)."""
    chosen = np.empty((len(count), size), np.int64)
    for k in range(size):
        most = count - size + k
        drawn = (generator.random(len(count)) * (most + 1)).astype(np.int64)
        repeated = (chosen[:, :k] == drawn[:, None]).any(1)
        chosen[:, k] = np.where(repeated, most, drawn)
    return chosen


def _block(
    graph: Graph, nodes: np.ndarray, edges: np.ndarray, numbers: np.ndarray, asked: int
) -> Graph:
    kept, own = torch.from_numpy(nodes), torch.from_numpy(numbers)
    of_edges = {
        name: value[own]
        for name in ("edge_attr", "edge_weight", "edge_type")
        if (value := getattr(graph, name)) is not None
    }
    block = Graph(_rows(graph.x, kept), torch.from_numpy(edges), **of_edges, checked=True)
    return block.asking(torch.arange(asked))


def _rows(x: Tensor, kept: Tensor) -> Tensor:
    """Some rows of dense features, or of those in CSR form, which stay so."""
    if not x.is_sparse_csr:
        return x.index_select(0, kept)
    starts, columns, values = x.crow_indices(), x.col_indices(), x.values()
    first, count = starts[kept], starts[kept + 1] - starts[kept]
    places = torch.from_numpy(_ranges(first.numpy(), count.numpy()))
    rows = torch.cat([count.new_zeros(1), count.cumsum(0)])
    return csr(rows, columns[places], values[places], (len(kept), x.shape[1]))


def sample_subgraph(
    graph: Graph, nodes: Tensor, fanout: Sequence[int] = (25, 10), seed: int = 0
) -> Graph:
    r"""The neighbourhood of some nodes, at most `fanout` edges to a node at each hop.

    $$V_0 = \text{nodes}, \qquad V_{h+1} = V_h \cup \bigcup_{i \in V_h \setminus V_{h-1}} S_i$$

    With -1 throughout, and as many hops as the network has layers, the answers are those of the
    whole graph: of networks whose layers read incoming edges only and no degrees of sources.

    Source: Hamilton, Ying & Leskovec (2017), arXiv:1706.02216, algorithm 2.
    """
    generator = np.random.default_rng(seed)
    found = Neighbours(graph).around(nodes.numpy(), fanout, generator)
    return _block(graph, *found, len(nodes))


class ClusterLoader:
    r"""Batches of whole clusters of the graph, with all edges inside a batch and none out of it.

    $$A \approx \operatorname{diag}(A_{11}, \dots, A_{cc}), \qquad \text{a batch: the nodes of }
      q \text{ clusters and the edges among them}$$

    A batch of `fit`'s is a `Graph` that is asked about the nodes of it which are to be learnt.
    Clusters are equal stretches of the reverse Cuthill-McKee order, in which neighbours lie near
    each other, where the authors have METIS's.

    Args:
        clusters: $c$.
        per_batch: $q$, drawn anew for each pass.
        nodes: the nodes that are asked about; by default those of `train_mask`.
        shuffle: whether to draw clusters together anew for each pass.

    Source: Chiang et al. (2019), Cluster-GCN, arXiv:1905.07953.
    """

    def __init__(
        self,
        graph: Graph,
        clusters: int = 50,
        per_batch: int = 5,
        nodes: Tensor | None = None,
        shuffle: bool = True,
    ) -> None:
        if not 0 < per_batch <= clusters <= graph.num_nodes:
            raise ValueError(
                f"per_batch ({per_batch}) must lie in 1 ... clusters ({clusters}), and those in "
                f"1 ... nodes ({graph.num_nodes})"
            )
        self.graph, self.per_batch, self.shuffle = graph, per_batch, shuffle
        self.asked = np.zeros(graph.num_nodes, bool)
        self.asked[_wanted(graph, nodes).numpy()] = True
        self.clusters = np.array_split(_neighbours_near(graph), clusters)
        self.neighbours = Neighbours(graph)

    def __len__(self) -> int:
        return -(-len(self.clusters) // self.per_batch)

    def __iter__(self) -> Iterator[dict[str, Tensor | Graph]]:
        count = len(self.clusters)
        order = torch.randperm(count).tolist() if self.shuffle else [*range(count)]
        for start in range(0, len(order), self.per_batch):
            chosen = order[start : start + self.per_batch]
            nodes = np.sort(np.concatenate([self.clusters[c] for c in chosen]))
            asked = torch.from_numpy(np.flatnonzero(self.asked[nodes]))
            block = _block(self.graph, nodes, *self.neighbours.among(nodes), 0).asking(asked)
            batch: dict[str, Tensor | Graph] = {"input": block}
            if self.graph.y is not None:
                batch["target"] = self.graph.y[torch.from_numpy(nodes)[asked]]
            if len(asked):
                yield batch


def _neighbours_near(graph: Graph) -> np.ndarray:
    """The nodes in an order in which neighbours are near each other."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    source, target = graph.edge_index.cpu().numpy()
    both = np.concatenate([source, target]), np.concatenate([target, source])
    shape = (graph.num_nodes, graph.num_nodes)
    joined = csr_array((np.ones(len(both[0]), np.int8), both), shape)
    return np.array(reverse_cuthill_mckee(joined, symmetric_mode=True), np.int64)


def _wanted(graph: Graph, nodes: Tensor | None) -> Tensor:
    if nodes is not None:
        return nodes
    if graph.train_mask is None:
        raise ValueError("nodes must say which nodes to ask about: there is no train_mask")
    return graph.train_mask.nonzero().flatten()


class LayerSampler:
    r"""One set of nodes for a whole layer, drawn by importance, in place of all neighbours.

    $$(P H)_{i \cdot} \approx \frac{1}{t} \sum_{s=1}^t \frac{P_{i u_s} h_{u_s}}{q(u_s)}, \qquad
      u_s \sim q(u) \propto \lVert P_{\cdot u} \rVert^2$$

    Args:
        matrix: $P$, of `propagation`.
        samples: $t$.

    Source: Chen, Ma & Xiao (2018), FastGCN, arXiv:1801.10247.
    """

    def __init__(self, matrix: Propagation, samples: int = 400) -> None:
        self.matrix, self.samples = matrix, samples
        norms = matrix.values.new_zeros(matrix.structure.shape[1])
        norms.index_add_(0, matrix.structure.col, matrix.values.square())
        self.probabilities = norms / norms.sum()

    def sample(self) -> tuple[Tensor, Propagation]:
        """Drawn nodes, and the matrix (N, N) of which only their columns are left, rescaled."""
        drawn = torch.multinomial(self.probabilities, self.samples, replacement=True)
        times = torch.bincount(drawn, minlength=len(self.probabilities)).to(self.matrix.values)
        share = times / (self.samples * self.probabilities.clamp(min=1e-30))
        values = self.matrix.values * share[self.matrix.structure.col]
        return drawn.unique(), self.matrix.with_values(values)

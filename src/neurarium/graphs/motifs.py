"""Counts of three-node patterns in directed graphs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from neurarium.data.graph import Graph
from neurarium.graphs.propagate import Propagation
from neurarium.graphs.sparse import Sparse

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["motif_adjacency", "motif_laplacians"]


def motif_adjacency(graph: Graph, k: int) -> Propagation:
    r"""How often two nodes lie together in an instance of the k-th directed three-node motif.

    $$(A_k)_{ij} = \#\{\text{instances of } M_k \text{ that contain } i \text{ and } j\}$$

    M1 to M7 are triangles, in the triad census 030C, 120C, 210, 300, 030T, 120D and 120U; M8 to
    M13 have one pair of nodes without an edge: 021D, 021C, 021U, 111U, 111D and 201. Loops,
    repeated edges and weights do not count.

    Args:
        k: 1 ... 13.

    Source: Benson, Gleich & Leskovec (2016), Higher-order organization of complex networks,
    Science 353:163.
    """
    if not 1 <= k <= 13:
        raise ValueError(f"k must be 1 ... 13, the number of a motif, got {k}")
    key = ("motif", k)
    if key not in graph.cache:
        both, single = _kinds_of_edges(graph)
        counts = _triangles(both, single, k) if k <= 7 else _wedges(both, single, k)
        counts.eliminate_zeros()
        coo = counts.tocoo()
        row, col = (torch.from_numpy(side.astype(np.int64)) for side in (coo.row, coo.col))
        kind = graph.x.dtype if graph.x.is_floating_point() else torch.get_default_dtype()
        values = torch.from_numpy(coo.data).to(kind)
        structure = Sparse(row, col, (graph.num_nodes, graph.num_nodes))
        graph.cache[key] = Propagation(structure, values)
    return graph.cache[key]


def motif_laplacians(graph: Graph, motifs: Sequence[str]) -> list[Propagation]:
    r"""$\Delta_k - I = -D_k^{-1/2} A_k D_k^{-1/2}$ of each motif; zero for nodes in none."""
    return [_laplacian(graph, int(str(name).lstrip("Mm"))) for name in motifs]


def _laplacian(graph: Graph, k: int) -> Propagation:
    key = ("motif laplacian", k)
    if key not in graph.cache:
        adjacency = motif_adjacency(graph, k)
        where, values = adjacency.structure, adjacency.values
        degree = values.new_zeros(graph.num_nodes).index_add(0, where.row, values)
        root = torch.where(degree > 0, degree, torch.inf).rsqrt()
        graph.cache[key] = adjacency.with_values(-root[where.row] * values * root[where.col])
    return graph.cache[key]


def _kinds_of_edges(graph: Graph) -> "tuple[csr_matrix, csr_matrix]":
    """Edges in both directions (B), and those in one (U), as 0/1 matrices of source by target."""
    from scipy.sparse import csr_matrix

    source, target = graph.edge_index.cpu().numpy()
    keep = source != target
    ones = np.ones(int(keep.sum()))
    shape = (graph.num_nodes, graph.num_nodes)
    a = csr_matrix((ones, (source[keep], target[keep])), shape)
    a.data[:] = 1  # an edge that comes twice is one
    both = a.multiply(a.T).tocsr()
    return both, (a - both).tocsr()


def _triangles(b: "csr_matrix", u: "csr_matrix", k: int) -> "csr_matrix":
    t = u.T.tocsr()  # U transposed
    forms = {
        1: ((u @ u).multiply(t),),
        2: ((b @ u).multiply(t), (u @ b).multiply(t), (u @ u).multiply(b)),
        3: ((b @ b).multiply(u), (b @ u).multiply(b), (u @ b).multiply(b)),
        4: ((b @ b).multiply(b),),
        5: ((u @ u).multiply(u), (u @ t).multiply(u), (t @ u).multiply(u)),
        6: ((u @ b).multiply(u), (b @ t).multiply(t), (t @ u).multiply(b)),
        7: ((t @ b).multiply(t), (b @ u).multiply(u), (u @ t).multiply(b)),
    }
    total = sum(forms[k][1:], start=forms[k][0]).tocsr()
    return (total + total.T).tocsr() if k in (1, 2, 3, 5) else total


def _wedges(b: "csr_matrix", u: "csr_matrix", k: int) -> "csr_matrix":
    """Pairs of neighbours of a middle node that are not joined themselves."""
    from scipy.sparse import csr_matrix

    t = u.T.tocsr()
    # From the middle node's view: what leads to one end and to the other.
    ends = {8: (u, u), 9: (t, u), 10: (t, t), 11: (b, u), 12: (b, t), 13: (b, b)}[k]
    joined = ((b + u + t) > 0).tocsr()
    rows, cols = [], []
    for middle in range(b.shape[0]):
        first, second = (m.indices[m.indptr[middle] : m.indptr[middle + 1]] for m in ends)
        p, q = (side.ravel() for side in np.meshgrid(first, second, indexing="ij"))
        keep = p < q if ends[0] is ends[1] else p != q
        p, q = p[keep], q[keep]
        free = ~np.asarray(joined[p, q]).astype(bool).ravel() if len(p) else np.zeros(0, bool)
        p, q = p[free], q[free]
        at = np.full(len(p), middle)
        rows += [p, q, p, at, q, at]
        cols += [q, p, at, p, at, q]
    row, col = (
        np.concatenate([*side, np.zeros(0, np.int64)]).astype(np.int64) for side in (rows, cols)
    )
    return csr_matrix((np.ones(len(row)), (row, col)), b.shape)

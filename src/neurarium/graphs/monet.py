"""Convolutions by where a neighbour lies: Gaussian kernels on edges, Laplacians of meshes."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from neurarium.data.graph import Graph
from neurarium.graphs.propagate import adjacency, times_weight
from neurarium.graphs.sparse import product
from neurarium.graphs.spatial import Nodes

__all__ = ["GaussianMixtureConv", "cotangent_laplacian", "degree_coordinates"]


class GaussianMixtureConv(nn.Module):
    r"""Neighbours weighed by learnt Gaussians over the coordinates of their edges (MoNet).

    $$h'_i = \sum_k \Theta_k^\top \sum_{j \in N(i)} w_k(u_{ij})\, h_j + b, \qquad
      w_k(u) = \exp\bigl(-\tfrac12 (u - \mu_k)^\top \Sigma_k^{-1} (u - \mu_k)\bigr)$$

    with $\Sigma_k$ diagonal; the coordinates $u_{ij}$ are `graph.edge_attr`.

    Args:
        dim: number of coordinates of an edge.
        kernels: number of Gaussians.
        weight: a function from coordinates (E, dim) to weights (E, kernels) instead of Gaussians;
            $u_1 u_2$ of the inverse roots of the degrees, with loops, gives the GCN's.

    Source: Monti et al. (2017), Geometric Deep Learning on Graphs and Manifolds Using Mixture
    Model CNNs, arXiv:1611.08402.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        dim: int = 2,
        kernels: int = 3,
        weight: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.kernels, self.weight = kernels, weight
        self.theta = nn.Parameter(torch.empty(kernels, in_features, out_features))
        self.mean = nn.Parameter(torch.rand(kernels, dim))
        # Narrow enough to tell places in [0, 1] apart from the beginning.
        self.log_deviation = nn.Parameter(torch.full((kernels, dim), math.log(0.2)))
        self.bias = nn.Parameter(torch.zeros(out_features))
        for matrix in self.theta:
            nn.init.xavier_uniform_(matrix)

    def forward(self, x: Nodes, graph: Graph) -> Tensor:
        coordinates = graph.edge_attr
        if coordinates is None:
            raise ValueError(
                "GaussianMixtureConv needs graph.edge_attr, the coordinates of each edge; "
                "degree_coordinates(graph) gives them for plain graphs"
            )
        of_edges = self._gaussians(coordinates) if self.weight is None else self.weight(coordinates)
        sent = times_weight(x, self.theta.movedim(0, 1).flatten(1)).unflatten(
            -1, (self.kernels, -1)
        )
        terms = [
            product(adjacency(graph), weights, sent[:, k])
            for k, weights in enumerate(of_edges.unbind(1))
        ]
        return torch.stack(terms).sum(0) + self.bias

    def _gaussians(self, coordinates: Tensor) -> Tensor:
        scaled = (coordinates[:, None] - self.mean) / self.log_deviation.exp()
        return (-0.5 * scaled.square().sum(-1)).exp()

    def extra_repr(self) -> str:
        return f"{self.theta.shape[1]}, {self.theta.shape[2]}, kernels={self.kernels}"


def degree_coordinates(graph: Graph, loops: bool = True) -> Graph:
    r"""The graph with a place for each edge: $u_{ij} = (d_i^{-1/2}, d_j^{-1/2})$.

    Args:
        loops: whether to join each node to itself, before degrees are counted.

    Source: Monti et al. (2017), section 5, arXiv:1611.08402.
    """
    edges = graph.edge_index
    if loops:
        every = torch.arange(graph.num_nodes, device=edges.device).expand(2, -1)
        edges = torch.cat([edges, every], 1)
    degree = torch.bincount(edges[1], minlength=graph.num_nodes).clamp(min=1)
    kind = graph.x.dtype if graph.x.is_floating_point() else torch.get_default_dtype()
    root = degree.to(kind).rsqrt()
    return graph.with_edges(edges, edge_attr=torch.stack([root[edges[1]], root[edges[0]]], 1))


def cotangent_laplacian(
    vertices: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"]
) -> Float[Tensor, "vertices vertices"]:
    r"""The Laplace-Beltrami operator of a triangle mesh, $M^{-1} L$, as a dense matrix.

    $$L_{ij} = -\tfrac12 (\cot \alpha_{ij} + \cot \beta_{ij}), \qquad L_{ii} = -\sum_j L_{ij},
      \qquad M_{ii} = \tfrac13 \text{ of the area around } i$$

    with $\alpha, \beta$ the angles opposite the edge. On the unit sphere its eigenvalues are
    $l (l + 1)$, each $2 l + 1$ times.

    Source: Pinkall & Polthier (1993), Computing discrete minimal surfaces and their conjugates,
    Experimental Mathematics 2(1); Bronstein et al. (2017), arXiv:1611.08097.
    """
    laplacian = vertices.new_zeros(len(vertices), len(vertices))
    corners = vertices[faces]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    doubled = normal.norm(dim=1)
    for k in range(3):
        a, b = (corners[:, (k + side) % 3] - corners[:, k] for side in (1, 2))
        half_cotangent = (a * b).sum(1) / doubled / 2  # of the angle at corner k
        i, j = faces[:, (k + 1) % 3], faces[:, (k + 2) % 3]
        for p, q in ((i, j), (j, i)):
            laplacian.index_put_((p, q), -half_cotangent, accumulate=True)
            laplacian.index_put_((p, p), half_cotangent, accumulate=True)
    area = vertices.new_zeros(len(vertices))
    area.index_add_(0, faces.flatten(), (doubled / 6).repeat_interleave(3))
    return laplacian / area[:, None]

r"""Convolutions as functions of the Laplacian's eigenvalues: $Y = U\, g(\Lambda)\, U^\top X$."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from neurarium.data.graph import Graph
from neurarium.graphs.motifs import motif_laplacians
from neurarium.graphs.propagate import Propagation, SparseFeatures, propagation, times_weight
from neurarium.graphs.spatial import Nodes, structure

__all__ = ["CayleyConv", "ChebConv", "MotifConv", "SpectralConv"]


_MOTIFS = tuple(f"M{k}" for k in range(1, 14))


class SpectralConv(nn.Module):
    r"""A free filter on the frequencies of one graph; it knows no other graph.

    $$y_o = \sum_i U \operatorname{diag}(\theta_{oi})\, U^\top x_i + b_o, \qquad
      L = I - D^{-1/2} A D^{-1/2} = U \Lambda U^\top$$

    Args:
        graph: whose Laplacian is taken apart, once, in time cubic in its nodes.
        control_points: number of points of a cubic spline over the eigenvalues that $\theta$ is
            read off, which keeps filters local in space; None leaves each frequency free.

    Source: Bruna et al. (2014), Spectral Networks and Locally Connected Networks on Graphs,
    arXiv:1312.6203.
    """

    basis: Tensor
    eigenvalues: Tensor
    spline: Tensor | None

    def __init__(
        self, graph: Graph, in_features: int, out_features: int, control_points: int | None = None
    ) -> None:
        super().__init__()
        laplacian = propagation(graph, "laplacian").to_dense()
        if not torch.allclose(laplacian, laplacian.T, atol=1e-6):
            raise ValueError("SpectralConv needs an undirected graph: each edge in both directions")
        eigenvalues, basis = torch.linalg.eigh(laplacian)
        self.register_buffer("basis", basis)
        self.register_buffer("eigenvalues", eigenvalues)
        spline = None if control_points is None else cubic_spline(eigenvalues, control_points)
        self.register_buffer("spline", spline)
        points = control_points or graph.num_nodes
        scale = 1 / math.sqrt(in_features)
        start = torch.randn(points, in_features, out_features, dtype=basis.dtype) * scale
        self.theta = nn.Parameter(start)
        self.bias = nn.Parameter(torch.zeros(out_features, dtype=basis.dtype))

    def forward(self, x: Tensor, graph: Graph | None = None) -> Tensor:
        nodes = len(self.basis)
        if x.shape[-2] != nodes or (graph is not None and graph.num_nodes != nodes):
            raise ValueError(
                f"this SpectralConv was made for a graph of {nodes} nodes and knows no other; "
                f"got {x.shape[-2]} nodes, build one for that graph"
            )
        theta: Tensor = self.theta
        if self.spline is not None:
            theta = torch.einsum("nq,qio->nio", self.spline, theta)
        spectrum = self.basis.T @ x
        return self.basis @ torch.einsum("...ni,nio->...no", spectrum, theta) + self.bias


def cubic_spline(points: Tensor, knots: int) -> Tensor:
    """Matrix that reads a natural cubic spline, given by its values at even knots, at `points`."""
    from scipy.interpolate import CubicSpline

    if knots < 2:
        raise ValueError(f"control_points must be at least 2, got {knots}")
    places = points.detach().cpu().double()
    low, high = float(places.min()), float(places.max())
    at = torch.linspace(low, max(high, low + 1e-6), knots, dtype=torch.float64)
    read = CubicSpline(at.numpy(), torch.eye(knots, dtype=torch.float64).numpy(), bc_type="natural")
    return torch.from_numpy(read(places.numpy())).to(points)


class ChebConv(nn.Module):
    r"""Spectral convolution by a Chebyshev polynomial of the Laplacian; reaches K-1 hops.

    $$Y = \sum_{k=0}^{K-1} T_k(\tilde L)\, X\, \Theta_k + b, \qquad
      T_k = 2 \tilde L\, T_{k-1} - T_{k-2},\; T_1 = \tilde L,\; T_0 = I$$

    with $\tilde L = 2 L / \lambda_{max} - I$.

    Args:
        K: number of terms; 1 ignores the graph, and is a network on each node alone.
        lambda_max: what is taken for the largest eigenvalue of L; None computes it.

    Source: Defferrard et al. (2016), Convolutional Neural Networks on Graphs with Fast
    Localized Spectral Filtering, arXiv:1606.09375.
    """

    def __init__(
        self, in_features: int, out_features: int, K: int = 3, lambda_max: float | None = 2.0
    ) -> None:
        super().__init__()
        if K < 1:
            raise ValueError(f"K must be at least 1 (the number of terms), got {K}")
        self.K, self.lambda_max = K, lambda_max
        self.theta = nn.Parameter(torch.empty(K, in_features, out_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        for weight in self.theta:
            nn.init.xavier_uniform_(weight)

    def forward(self, x: Nodes, graph: Graph | Tensor) -> Tensor:
        laplacian = propagation(structure(x, graph), "scaled_laplacian", self.lambda_max)
        if isinstance(x, SparseFeatures) or x.shape[-1] > self.theta.shape[2]:
            return self._weights_first(x, laplacian) + self.bias
        terms = [x]
        for k in range(1, self.K):
            hop = laplacian @ terms[-1]
            terms.append(hop if k == 1 else 2 * hop - terms[-2])
        return torch.cat(terms, dim=-1) @ self.theta.flatten(0, 1) + self.bias

    def _weights_first(self, x: Nodes, laplacian: Propagation) -> Tensor:
        """Clenshaw's recurrence: the same sum, its products as narrow as the output."""
        side_by_side = times_weight(x, self.theta.movedim(0, 1).flatten(1))
        weighted = side_by_side.unflatten(-1, (self.K, -1)).unbind(-2)
        later = latest = torch.zeros_like(weighted[0])
        for term in weighted[:0:-1]:
            later, latest = term + 2 * (laplacian @ later) - latest, later
        return weighted[0] + (laplacian @ later - latest if self.K > 1 else 0)

    def extra_repr(self) -> str:
        return f"{self.theta.shape[1]}, {self.theta.shape[2]}, K={self.K}"


class CayleyConv(nn.Module):
    r"""A rational filter of the Laplacian that can look closely at a narrow band of frequencies.

    $$g(\lambda) = c_0 + 2 \operatorname{Re} \sum_{j=1}^r c_j\, C(h\lambda)^j, \qquad
      C(\lambda) = \frac{\lambda - i}{\lambda + i}$$

    Powers are found by solving $(hL + iI)\, y_j = (hL - iI)\, y_{j-1}$.

    Args:
        order: $r$.
        zoom: where $h > 0$ starts; it is learnt.
        jacobi_steps: number of Jacobi iterations instead of a direct solution; for graphs of more
            than a few thousand nodes. It converges always, but slowly for a large zoom.

    Source: Levie et al. (2019), CayleyNets: Graph Convolutional Neural Networks with Complex
    Rational Spectral Filters, arXiv:1705.07664.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        order: int = 1,
        zoom: float = 1.0,
        jacobi_steps: int | None = None,
    ) -> None:
        super().__init__()
        if order < 0 or not zoom > 0:
            raise ValueError(f"order must be at least 0 and zoom positive, got {order} and {zoom}")
        self.order, self.jacobi_steps = order, jacobi_steps
        # c_0, then real and imaginary parts of c_1, ..., c_r.
        self.coefficients = nn.Parameter(torch.empty(1 + 2 * order, in_features, out_features))
        self.log_zoom = nn.Parameter(torch.tensor(math.log(zoom)))
        self.bias = nn.Parameter(torch.zeros(out_features))
        for weight in self.coefficients:
            nn.init.xavier_uniform_(weight)

    def forward(self, x: Nodes, graph: Graph | Tensor) -> Tensor:
        laplacian = propagation(structure(x, graph), "laplacian")
        # C^j acts on nodes and c_j on features, so the narrower of the two is transformed.
        narrow = isinstance(x, SparseFeatures) or x.shape[-1] > self.coefficients.shape[2]
        y = self._weights_first(x, laplacian) if narrow else self._powers_first(x, laplacian)
        return y + self.bias

    def _powers_first(self, x: Nodes, laplacian: Propagation) -> Tensor:
        assert isinstance(x, Tensor)
        total = x @ self.coefficients[0]
        real, imaginary = x, torch.zeros_like(x)
        for j in range(self.order):
            real, imaginary = self.step(real, imaginary, laplacian)
            a, b = self.coefficients[1 + 2 * j], self.coefficients[2 + 2 * j]
            total = total + 2 * (real @ a - imaginary @ b)
        return total

    def _weights_first(self, x: Nodes, laplacian: Propagation) -> Tensor:
        """Horner's rule: (... (x c_r) C + x c_{r-1}) C + ..., whose real part is twice taken."""
        terms = times_weight(x, self.coefficients.movedim(0, 1).flatten(1))
        terms = terms.unflatten(-1, (1 + 2 * self.order, -1))
        real = imaginary = torch.zeros_like(terms[..., 0, :])
        for j in reversed(range(self.order)):
            real, imaginary = real + terms[..., 1 + 2 * j, :], imaginary + terms[..., 2 + 2 * j, :]
            real, imaginary = self.step(real, imaginary, laplacian)
        return terms[..., 0, :] + 2 * real

    def step(
        self, real: Tensor, imaginary: Tensor, laplacian: Propagation
    ) -> tuple[Tensor, Tensor]:
        """One more factor C(hL), in real and imaginary parts."""
        zoom = self.log_zoom.exp().to(real.dtype)
        if self.jacobi_steps is None:
            dense = zoom * laplacian.to_dense()
            unit = torch.eye(len(dense), dtype=dense.dtype, device=dense.device)
            y = torch.complex(real, imaginary)
            answer = torch.linalg.solve(torch.complex(dense, unit), torch.complex(dense, -unit) @ y)
            return answer.real, answer.imag
        return self._jacobi(real, imaginary, laplacian, zoom)

    def _jacobi(
        self, real: Tensor, imaginary: Tensor, laplacian: Propagation, zoom: Tensor
    ) -> tuple[Tensor, Tensor]:
        nodes = laplacian.structure.shape[0]
        diagonal = zoom * laplacian.values[-nodes:, None]  # the loops come last
        a, b = diagonal / (diagonal.square() + 1), -1 / (diagonal.square() + 1)  # 1 / (hd + i)

        def divided(re: Tensor, im: Tensor) -> tuple[Tensor, Tensor]:
            return a * re - b * im, a * im + b * re

        def off(v: Tensor) -> Tensor:
            return zoom * (laplacian @ v) - diagonal * v

        # (hL - i) y, by which the last factor multiplied.
        right = (
            zoom * (laplacian @ real) + imaginary,
            zoom * (laplacian @ imaginary) - real,
        )
        u, v = divided(*right)
        for _ in range(self.jacobi_steps or 0):
            u, v = divided(right[0] - off(u), right[1] - off(v))
        return u, v

    def extra_repr(self) -> str:
        _, inputs, outputs = self.coefficients.shape
        zoom = float(self.log_zoom.detach().exp())
        return f"{inputs}, {outputs}, order={self.order}, zoom={zoom:.3g}"


class MotifConv(nn.Module):
    r"""Spectral convolution for directed graphs: attention chooses among Laplacians of motifs.

    $$Y = \sum_{j=0}^p P_j X \Theta_j + b, \qquad P_j = \sum_k \alpha_{jk}
      \tilde\Delta_k P_{j-1},\; P_0 = I, \qquad \tilde\Delta_k = -D_k^{-1/2} A_k D_k^{-1/2}$$

    $(A_k)_{ij}$ counts the instances of motif $M_k$ that hold both nodes, so each matrix is
    symmetric though the graph is not.

    Args:
        order: $p$.
        motifs: which of M1 ... M13 take part; see `motif_adjacency`.

    Source: Monti, Otness & Bronstein (2018), MotifNet: a motif-based Graph Convolutional Network
    for directed graphs, arXiv:1802.01572.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        order: int = 1,
        motifs: Sequence[str] = _MOTIFS,
    ) -> None:
        super().__init__()
        if order < 0 or not motifs:
            raise ValueError("order must be at least 0 and motifs name at least one, such as 'M1'")
        self.order, self.motifs = order, tuple(motifs)
        self.theta = nn.Parameter(torch.empty(order + 1, in_features, out_features))
        self.preference = nn.Parameter(torch.zeros(order, len(self.motifs)))
        self.bias = nn.Parameter(torch.zeros(out_features))
        for weight in self.theta:
            nn.init.xavier_uniform_(weight)

    def forward(self, x: Nodes, graph: Graph | Tensor) -> Tensor:
        laplacians = motif_laplacians(structure(x, graph), self.motifs)
        if isinstance(x, SparseFeatures):
            x = x.dense()
        total, hop = x @ self.theta[0], x
        for alpha, theta in zip(self.preference.softmax(1), self.theta[1:], strict=True):
            parts = [a * (laplacian @ hop) for a, laplacian in zip(alpha, laplacians, strict=True)]
            hop = torch.stack(parts).sum(0)
            total = total + hop @ theta
        return total + self.bias

    def extra_repr(self) -> str:
        return f"{self.theta.shape[1]}, {self.theta.shape[2]}, order={self.order}"

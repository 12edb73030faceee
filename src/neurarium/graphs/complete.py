"""Filling in a matrix whose rows and columns are nodes of graphs."""

from typing import Any

import torch
from torch import Tensor, nn

from neurarium.data import Batch
from neurarium.data.graph import Graph
from neurarium.graphs.propagate import Propagation, propagation
from neurarium.graphs.spectral import ChebConv

__all__ = ["MultiGraphCompletion", "dirichlet_energy", "nearest_neighbours"]


def dirichlet_energy(x: Tensor, graph: Graph) -> Tensor:
    r"""How rough a signal is on a graph.

    $$\operatorname{tr}(X^\top (D - A) X) = \tfrac12 \sum_{i,j} w_{ij} \lVert x_i - x_j \rVert^2$$

    Source: Kalofolias et al. (2014), Matrix Completion on Graphs, arXiv:1408.1717.
    """
    return (x * (propagation(graph, "combinatorial") @ x)).sum()


class MultiGraphCompletion(nn.Module):
    r"""A recurrent network on two graphs at once that improves a matrix step by step.

    $$X^{t+1} = X^t + dX^t, \qquad dX^t = \operatorname{LSTM}\Bigl(\operatorname{ReLU}
      \sum_{j j'} \theta_{j j'} T_j(\tilde L_r)\, X^t\, T_{j'}(\tilde L_c)\Bigr)$$

    or, separable, the same on the factors of $X = W H^\top$, each on a graph of its own. Asked
    about pairs (row, column) it gives entries; `smoothness` is the penalty that goes with them.

    Args:
        start: the factors W and H to begin with, or (not separable) the matrix and None, such as
            `from_observed` gives.
        order: number of Chebyshev terms.
        steps: $T$.
        hidden: width of the filters' output and of the LSTM.

    Source: Monti, Bronstein & Bresson (2017), Geometric Matrix Completion with Recurrent
    Multi-Graph Neural Networks, arXiv:1704.06803.
    """

    W: Tensor
    H: Tensor | None

    def __init__(
        self,
        row_graph: Graph,
        col_graph: Graph,
        start: tuple[Tensor, Tensor | None],
        order: int = 5,
        steps: int = 10,
        hidden: int = 32,
        separable: bool = True,
    ) -> None:
        super().__init__()
        if separable != (start[1] is not None):
            raise ValueError(
                "separable=True starts from two factors (W, H), separable=False from (matrix, None)"
            )
        self.row_graph, self.col_graph = row_graph, col_graph
        self.order, self.steps, self.separable = order, steps, separable
        self.register_buffer("W", start[0])
        self.register_buffer("H", start[1])
        rank = start[0].shape[1] if separable else 1
        sides = 2 if separable else 1
        self.cells = nn.ModuleList(nn.LSTMCell(hidden, hidden) for _ in range(sides))
        self.moves = nn.ModuleList(nn.Linear(hidden, rank) for _ in range(sides))
        for move in self.moves:
            nn.init.zeros_(move.weight)  # type: ignore[arg-type]
            nn.init.zeros_(move.bias)  # type: ignore[arg-type]
        if separable:
            self.filters = nn.ModuleList(ChebConv(rank, hidden, order) for _ in range(2))
        else:
            self.theta = nn.Parameter(torch.randn(order, order, hidden) / order)

    @staticmethod
    def from_observed(matrix: Tensor, known: Tensor, rank: int = 10) -> tuple[Tensor, Tensor]:
        """Factors of the best approximation of that rank to the matrix with zeros for unknown."""
        u, s, v = torch.linalg.svd(torch.where(known, matrix, 0.0), full_matrices=False)
        root = s[:rank].sqrt()
        return u[:, :rank] * root, v[:rank].T * root

    def complete(self) -> Tensor:
        """The whole matrix after all steps."""
        if self.separable:
            self.final = self.factors()
            return self.final[0] @ self.final[1].T
        x, state = self.W, None
        for _ in range(self.steps):
            entries = self.joint_filter(x).relu().flatten(0, 1)
            state = self.cells[0](entries, state)
            x = x + self.moves[0](state[0]).view_as(x)
        self.final = (x, x.T)
        return x

    def factors(self) -> tuple[Tensor, Tensor]:
        """W and H after all steps."""
        assert self.H is not None
        sides = []
        for side, graph, filters, cell, move in zip(
            (self.W, self.H),
            (self.row_graph, self.col_graph),
            self.filters,
            self.cells,
            self.moves,
            strict=True,
        ):
            state: Any = None
            for _ in range(self.steps):
                state = cell(filters(side, graph).relu(), state)
                side = side + move(state[0])
            sides.append(side)
        return sides[0], sides[1]

    def joint_filter(self, x: Tensor) -> Tensor:
        """The filter on both graphs, (rows, columns, hidden)."""
        along_rows = _chebyshev(x, propagation(self.row_graph, "scaled_laplacian"), self.order)
        both = [
            _chebyshev(term.T, propagation(self.col_graph, "scaled_laplacian"), self.order)
            for term in along_rows
        ]
        terms = torch.stack([torch.stack(row) for row in both]).transpose(2, 3)
        return torch.einsum("jkrc,jkl->rcl", terms, self.theta)

    def forward(self, pairs: Tensor) -> Tensor:
        row, col = pairs.T
        return self.complete()[row, col]

    def smoothness(self, model: nn.Module, batch: Batch) -> Tensor:
        """Dirichlet energy of the answer just given on both graphs, per entry."""
        on_rows, on_columns = self.final
        total = dirichlet_energy(on_rows, self.row_graph)
        total = total + dirichlet_energy(on_columns, self.col_graph)
        return total / (len(on_rows) * len(on_columns))


def _chebyshev(x: Tensor, laplacian: Propagation, order: int) -> list[Tensor]:
    terms = [x]
    for k in range(1, order):
        hop = laplacian @ terms[-1]
        terms.append(hop if k == 1 else 2 * hop - terms[-2])
    return terms


def nearest_neighbours(x: Tensor, k: int = 10) -> Graph:
    r"""The graph that joins rows to their k nearest, in both directions.

    $$i \sim j \iff j \in \operatorname{kNN}(i) \text{ or } i \in \operatorname{kNN}(j)$$

    Source: Cover & Hart (1967), Nearest neighbor pattern classification, IEEE Trans. Information
    Theory 13(1).
    """
    if not 0 < k < len(x):
        raise ValueError(f"k must lie in 1 ... {len(x) - 1} (rows - 1), got {k}")
    distance = torch.cdist(x, x).fill_diagonal_(torch.inf)
    near = distance.topk(k, largest=False).indices
    ends = torch.stack([near.flatten(), torch.arange(len(x)).repeat_interleave(k)])
    both = torch.cat([ends, ends.flip(0)], 1)
    return Graph(x, both.unique(dim=1))

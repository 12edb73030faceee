"""Learnt fingerprints of molecules."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neurarium.data.graph import Graph
from neurarium.data.molecules import BOND_FEATURES
from neurarium.graphs.networks import network_input
from neurarium.graphs.pool import pool
from neurarium.graphs.propagate import at_sources, spread
from neurarium.networks._config import remember

__all__ = ["NeuralFingerprint"]


class NeuralFingerprint(nn.Module):
    r"""Circular fingerprints made smooth: hashing becomes a layer, indexing a softmax.

    $$f = \sum_{l=0}^{R} \sum_a \operatorname{softmax}\bigl(r_a^{(l)} W_l + c_l\bigr), \qquad
      r_a^{(l)} = \operatorname{ReLU}\Bigl(r_a S_l + \sum_{i \in N(a)} [r_i; b_{ai}]\,
      H_l^{\deg(a)} + c'_l\Bigr)$$

    S is for the atom itself and H one for each degree, as in the authors' code. The answer is a
    small network's on f; `fingerprint` gives f.

    Args:
        length: of the fingerprint.
        radius: $R$.
        bonds: number of features of a bond, `graph.edge_attr`.

    Source: Duvenaud et al. (2015), Convolutional Networks on Graphs for Learning Molecular
    Fingerprints, arXiv:1509.09292.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int = 64,
        out_features: int = 1,
        length: int = 512,
        radius: int = 4,
        max_degree: int = 5,
        bonds: int = BOND_FEATURES,
        dropout: float = 0.0,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        remember(self, in_features=in_features, hidden=hidden, out_features=out_features)
        remember(self, length=length, radius=radius, max_degree=max_degree, bonds=bonds)
        remember(self, dropout=dropout, batch_norm=batch_norm)
        widths = [in_features, *[hidden] * radius]
        self.own = nn.ModuleList(nn.Linear(a, hidden) for a in widths[:-1])
        self.by_degree = nn.ParameterList(
            nn.Parameter(torch.empty(max_degree + 1, a + bonds, hidden)) for a in widths[:-1]
        )
        for weights in self.by_degree:
            for weight in weights:
                nn.init.xavier_uniform_(weight)
        self.norms = nn.ModuleList(
            nn.BatchNorm1d(hidden) if batch_norm else nn.Identity() for _ in range(radius)
        )
        self.write = nn.ModuleList(nn.Linear(width, length) for width in widths)
        self.head = nn.Sequential(
            nn.Linear(length, 100), nn.ReLU(), nn.Dropout(dropout), nn.Linear(100, out_features)
        )

    @classmethod
    def for_data(
        cls, input_shape: Sequence[int], outputs: int, categories: Sequence[int] = (), **more: Any
    ) -> "NeuralFingerprint":
        """A network between these features and outputs."""
        return cls(input_shape[-1], out_features=outputs, **more)

    def forward(self, graph: Graph | Tensor, edge_index: Tensor | None = None) -> Tensor:
        return self.head(self.fingerprint(network_input(self, graph, edge_index)))

    def fingerprint(self, graph: Graph) -> Tensor:
        """$f$ of each molecule (B, length)."""
        r, bonds = graph.x, graph.edge_attr
        if bonds is None:
            bonds = r.new_zeros(graph.num_edges, self.bonds)
        degree = torch.bincount(graph.edge_index[1], minlength=graph.num_nodes)
        degree = degree.clamp(max=self.max_degree)
        total = self.write[0](r).softmax(1)
        for own, by_degree, norm, write in zip(
            self.own, self.by_degree, self.norms, self.write[1:], strict=True
        ):
            around = spread(graph, torch.cat([at_sources(graph, r), bonds], 1))
            # All degrees at once, then each atom's own: degrees are few and atoms many.
            of_degree = torch.einsum("ni,dio->dno", around, by_degree)
            heard = of_degree[degree, torch.arange(len(degree), device=degree.device)]
            r = norm(own(r) + heard).relu()
            total = total + write(r).softmax(1)
        return pool(total, graph)

    max_degree: int
    bonds: int

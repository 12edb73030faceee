"""Many signals on one graph, as images are on a grid of pixels."""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from neurarium._names import resolve
from neurarium.data.graph import Graph
from neurarium.graphs.networks import CONVS

__all__ = ["SignalNetwork"]


class SignalNetwork(nn.Module):
    r"""A convolutional network whose grid is any graph: one graph, a signal on it for each row.

    $$H_{l+1} = \operatorname{ReLU}\bigl(\operatorname{conv}_l(H_l, G)\bigr), \qquad
      y = W \operatorname{vec}(H_L) + b \;\text{ or }\;
      y = W\, \tfrac1N \textstyle\sum_i H_{L,i} + b$$

    Args:
        graph: whose nodes the signals' values are on.
        conv: a callable `(in_features, out_features) -> layer` of layers that take features
            (..., nodes, features), or such a layer's name: "ChebConv:K=20", "GraphConv".
        in_features: values of a signal at each node; (B, nodes) is (B, nodes, 1).
        readout: "flat" keeps apart where a feature is, "mean" does not.

    Source: Defferrard et al. (2016), Convolutional Neural Networks on Graphs with Fast
    Localized Spectral Filtering, arXiv:1606.09375.
    """

    def __init__(
        self,
        graph: Graph,
        out_features: int,
        conv: str | Callable[[int, int], nn.Module] = "ChebConv",
        in_features: int = 1,
        hidden: int = 10,
        layers: int = 1,
        readout: Literal["flat", "mean"] = "flat",
    ) -> None:
        super().__init__()
        if readout not in ("flat", "mean"):
            raise ValueError(f"readout must be flat or mean, got {readout!r}")
        make = resolve(conv, CONVS, "conv")
        sizes = [in_features, *[hidden] * layers]
        self.graph, self.in_features, self.readout = graph, in_features, readout
        self.convs = nn.ModuleList(make(*size) for size in pairwise(sizes))
        seen = hidden if readout == "mean" else hidden * graph.num_nodes
        self.out = nn.Linear(seen, out_features)

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch out"]:
        nodes = self.graph.num_nodes
        if x[0].numel() != nodes * self.in_features:
            raise ValueError(
                f"a signal must have {self.in_features} values at each of {nodes} nodes, got "
                f"shape {tuple(x.shape[1:])}"
            )
        h = x.reshape(len(x), nodes, self.in_features)
        graph = self.graph.to(h.device)
        for conv in self.convs:
            h = conv(h, graph).relu()
        return self.out(h.mean(1) if self.readout == "mean" else h.flatten(1))

"""The unit everything began with."""

import math
from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from neurarium import activations
from neurarium.networks._config import remember

__all__ = ["Perceptron"]


class Perceptron(nn.Module):
    r"""Threshold units: each fires on one side of a hyperplane.

    $$y = \operatorname{hardlim}(W x + b), \qquad b = -\text{threshold}$$

    Multiplying weights and biases by any $c > 0$ changes no output.

    Args:
        transfer: "hardlim" (0 or 1), "hardlims" (-1 or 1), "step:at_zero=0" (Nielsen's), or
            "identity" for the scores themselves, which is what a gradient can train.

    Source: McCulloch & Pitts (1943), A logical calculus of the ideas immanent in nervous
    activity, Bull. Math. Biophysics 5; Rosenblatt (1958), The perceptron, Psychological Review 65.
    """

    def __init__(self, in_features: int, out_features: int = 1, transfer: Any = "hardlim") -> None:
        super().__init__()
        remember(self, in_features=in_features, out_features=out_features, transfer=transfer)
        self.linear = nn.Linear(in_features, out_features)
        self.threshold = activations.module(transfer, out_features)

    @classmethod
    def for_data(
        cls,
        input_shape: Sequence[int],
        outputs: int,
        categories: Sequence[int],
        transfer: Any = "identity",
    ) -> "Perceptron":
        """One unit per output, giving scores unless asked otherwise: the largest one decides."""
        if categories:
            raise ValueError(
                f"Perceptron reads numbers only, and the data have {len(categories)} categorical "
                "columns; take MLP, which embeds them"
            )
        return cls(math.prod(input_shape), outputs, transfer)

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch out_features"]:
        return self.threshold(self.linear(x.flatten(1)))

    def boundary(self) -> tuple[Float[Tensor, "out_features in_features"], Float[Tensor, " _"]]:
        r"""$(w, b)$ of the hyperplanes $w^\top x + b = 0$ between silence and firing."""
        return self.linear.weight.detach(), self.linear.bias.detach()

    def distance(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch out_features"]:
        r"""Signed distance $(w^\top x + b) / \lVert w \rVert$ to each hyperplane."""
        return self.linear(x.flatten(1)) / self.linear.weight.norm(dim=1)

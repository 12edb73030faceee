"""The units everything began with: threshold units, and those that learn before the threshold."""

import math
from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from neurarium import activations
from neurarium.networks._config import remember

__all__ = ["Adaline", "Perceptron"]


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
        _refuse_categories("Perceptron", categories)
        return cls(math.prod(input_shape), outputs, transfer)

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch out_features"]:
        return self.threshold(self.linear(x.flatten(1)))

    def boundary(self) -> tuple[Float[Tensor, "out_features in_features"], Float[Tensor, " _"]]:
        r"""$(w, b)$ of the hyperplanes $w^\top x + b = 0$ between silence and firing."""
        return self.linear.weight.detach(), self.linear.bias.detach()

    def distance(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch out_features"]:
        r"""Signed distance $(w^\top x + b) / \lVert w \rVert$ to each hyperplane."""
        return self.linear(x.flatten(1)) / self.linear.weight.norm(dim=1)


class Adaline(nn.Module):
    r"""Adaptive linear units: plain sums, which learn; their signs decide.

    $$y = W x + b, \qquad \text{decision} = \operatorname{hardlims}(y)$$

    The model returns $y$, for `learning.DeltaRule` or a squared error; `predict` is the decision.

    Source: Widrow & Hoff (1960), Adaptive switching circuits, IRE WESCON Convention Record 4.
    """

    def __init__(self, in_features: int, out_features: int = 1) -> None:
        super().__init__()
        remember(self, in_features=in_features, out_features=out_features)
        self.linear = nn.Linear(in_features, out_features)

    @classmethod
    def for_data(
        cls, input_shape: Sequence[int], outputs: int, categories: Sequence[int]
    ) -> "Adaline":
        """One unit per output; of several classes the largest sum decides."""
        _refuse_categories("Adaline", categories)
        return cls(math.prod(input_shape), outputs)

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch out_features"]:
        return self.linear(x.flatten(1))

    def predict(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch out_features"]:
        """-1 or 1 for each unit."""
        return activations.hardlims(self(x))


def _refuse_categories(name: str, categories: Sequence[int]) -> None:
    if categories:
        raise ValueError(
            f"{name} reads numbers only, and the data have {len(categories)} categorical columns; "
            "take MLP, which embeds them"
        )

"""DropConnect: dropout of connections instead of units."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["DropConnect"]


class DropConnect(nn.Module):
    r"""A linear layer whose connections are cut at random while training.

    $$y = \frac{1}{1 - p}\,(M \odot W)\, x + b, \qquad M_{ij} \sim \operatorname{Bernoulli}(1 - p)$$

    When judged it is the plain layer, the expectation over all masks, as with dropout; the paper
    instead samples the activations' Gaussian approximation.

    Args:
        linear: the layer whose weights are masked.
        p: share of the connections that are cut.
        per_example: whether each example has a mask of its own, as in the paper, at the cost of a
            copy of the weights per example. One mask for the batch is the default: its gradient
            has the same mean and more noise.

    Source: Wan, Zeiler, Zhang, LeCun & Fergus (2013), Regularization of Neural Networks using
    DropConnect, ICML.
    """

    def __init__(self, linear: nn.Linear, p: float = 0.5, per_example: bool = False) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p must lie in [0, 1), got {p}; it is the share that is cut")
        self.linear, self.p, self.per_example = linear, p, per_example

    def forward(
        self, x: Float[Tensor, "*batch in_features"]
    ) -> Float[Tensor, "*batch out_features"]:
        weight, bias = self.linear.weight, self.linear.bias
        if not self.training or not self.per_example:
            return F.linear(x, F.dropout(weight, self.p, self.training), bias)
        masked = F.dropout(weight.expand(*x.shape[:-1], *weight.shape), self.p)
        y = torch.einsum("...i,...oi->...o", x, masked)
        return y if bias is None else y + bias

    def extra_repr(self) -> str:
        return f"p={self.p}" + (", per_example=True" if self.per_example else "")

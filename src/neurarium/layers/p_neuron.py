"""The p-neuron: a table of weights for each input, from which its value picks one."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PNeuron"]


class PNeuron(nn.Module):
    r"""Units that add up one weight for each input, picked by the interval which the input is in.

    $$y_n = \sum_i w_{i,\, d_i,\, n}, \qquad
      d_i = \min\bigl(\lfloor k\, x_i \rfloor,\, k - 1\bigr), \qquad x_i \in [0, 1]$$

    It is a linear layer over inputs cut into $k$ intervals, so a unit can be any sum of step
    functions of single inputs. Values outside [0, 1] count as its ends. Weights start at 0.
    `learning.PANNRule` trains it as its author does; gradients by the weights can as well, those by
    the input are zero.

    The author holds patents on such networks (US 9,619,749 and its family): this is for education.

    Args:
        levels: $k$.

    Source: Pescianschi, Main Principles of the General Theory of Neural Network with Internal
    Feedback, progress.ai; US patent 9,619,749 (2017).
    """

    def __init__(self, in_features: int, out_features: int, levels: int = 4) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f"levels must be at least 1, got {levels}; 1 ignores the input")
        self.in_features, self.out_features, self.levels = in_features, out_features, levels
        self.weight = nn.Parameter(torch.zeros(in_features * levels, out_features))

    def selected(self, x: Float[Tensor, "batch in_features"]) -> Int[Tensor, "batch in_features"]:
        """The rows of `weight` that the inputs pick."""
        level = (x * self.levels).floor().clamp(0, self.levels - 1).long()
        return level + self.levels * torch.arange(self.in_features, device=x.device)

    def forward(self, x: Float[Tensor, "batch in_features"]) -> Float[Tensor, "batch out_features"]:
        return F.embedding_bag(self.selected(x), self.weight, mode="sum")

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, levels={self.levels}"

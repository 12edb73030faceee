"""A rectifier with a few levels: a unit that jumps more than once."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium import activations

__all__ = ["QuantizedReLU"]


class QuantizedReLU(nn.Module):
    r"""A rectifier that saturates at 1 and knows only the levels $0, 1/k, \dots, 1$.

    $$f(z) = \frac1k \sum_{j=1}^k \mathbf{1}[z \ge \theta_j], \qquad
      \theta_j = \frac{j - \tfrac12}{k}$$

    A sum of threshold units: its gradient is zero. `learning.FTPROP` gives each threshold a target
    of its own.

    Args:
        levels: $k$; the level 0 does not count.

    Attributes:
        thresholds: where it jumps.

    Source: Friesen & Domingos (2018), Deep Learning as a Mixed Convex-Combinatorial Optimization
    Problem, ICLR, arXiv:1710.11573.
    """

    def __init__(self, levels: int = 3) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f"levels must be at least 1 (0 does not count), got {levels}")
        self.thresholds = tuple((j + 0.5) / levels for j in range(levels))

    def forward(self, z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        fired = [activations.hardlim(z - threshold) for threshold in self.thresholds]
        return torch.stack(fired).sum(0) / len(fired)

    def extra_repr(self) -> str:
        return f"levels={len(self.thresholds)}"

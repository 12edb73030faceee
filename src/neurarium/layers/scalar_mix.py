"""A learnt mean of a network's layers."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ScalarMix"]


class ScalarMix(nn.Module):
    r"""What all layers say of each token, weighted for the task at hand.

    $$\gamma \sum_j s_j h_j, \qquad s = \operatorname{softmax}(w)$$

    At first all layers count the same and $\gamma = 1$. The paper's $\lambda \lVert w \rVert^2$,
    which keeps them near that, is `penalties.L2(2e-3, on=lambda name, p: name.endswith("mix.w"))`.

    Args:
        layers: how many there are.
        norm: whether each layer's rows are normalized before.

    Source: Peters et al. (2018), Deep contextualized word representations, arXiv:1802.05365.
    """

    def __init__(self, layers: int, norm: bool = False) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers must be at least 1, got {layers}; it counts what is mixed")
        self.w, self.gamma = nn.Parameter(torch.zeros(layers)), nn.Parameter(torch.ones(()))
        self.norm = norm

    def forward(self, h: Float[Tensor, "layers *rows features"]) -> Float[Tensor, "*rows features"]:
        if len(h) != len(self.w):
            raise ValueError(f"this mix is of {len(self.w)} layers, which come first; got {len(h)}")
        if self.norm:
            h = F.layer_norm(h, h.shape[-1:])
        return self.gamma * torch.tensordot(self.w.softmax(0), h, 1)

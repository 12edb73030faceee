"""A sentence as several looks at it."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from neurarium.layers.attention.attend import attend
from neurarium.layers.attention.scores import Dot

__all__ = ["StructuredSelfAttention"]


class StructuredSelfAttention(nn.Module):
    r"""Several means of a sequence's states, each by attention of its own.

    $$A = \operatorname{softmax}\bigl(W_{s2} \tanh(W_{s1} H^\top)\bigr), \qquad M = A H$$

    The softmax is over the tokens. `redundancy` is the last batch's mean of $\lVert A A^\top - I
    \rVert_F^2$, 0 only where every hop looks at one token and no two at the same; the penalty
    `AttentionRedundancy` puts a price on it. With one hop this is pooling by attention.

    Args:
        features: of a state, 2u of a bidirectional layer.
        da: width of the score's hidden layer.
        hops: r, the number of means.

    Source: Lin et al. (2017), A structured self-attentive sentence embedding, arXiv:1703.03130.
    """

    def __init__(self, features: int, da: int = 350, hops: int = 30) -> None:
        super().__init__()
        self.W_s1 = nn.Linear(features, da, bias=False)
        self.W_s2 = nn.Linear(da, hops, bias=False)
        self.redundancy = torch.zeros(())

    def forward(
        self,
        h: Float[Tensor, "batch tokens features"],
        real: Bool[Tensor, "batch tokens"] | None = None,
    ) -> tuple[Float[Tensor, "batch hops features"], Float[Tensor, "batch hops tokens"]]:
        """The means, and the weights of the tokens in each.

        Args:
            real: which tokens are no padding.
        """
        queries = self.W_s2.weight.expand(len(h), -1, -1)
        mask = None if real is None else real[:, None]
        means, A = attend(queries, torch.tanh(self.W_s1(h)), h, Dot(), mask)
        apart = A @ A.mT - torch.eye(A.shape[1], dtype=A.dtype, device=A.device)
        self.redundancy = apart.square().sum((1, 2)).mean()
        return means, A

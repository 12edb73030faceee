"""Attention by content and distance, over rows that may reach further back than the queries."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from neurarium.layers.attention.attend import Mask, attend
from neurarium.layers.positions import TransformerXLRelative

__all__ = ["RelativeMultiHead"]

Rows = Float[Tensor, "batch tokens dim"]
Seen = Float[Tensor, "batch seen dim"]


class RelativeMultiHead(nn.Module):
    r"""Heads that know how far away a key lies, and whether it is of the query's segment.

    $$s(q_i, k_j) = \frac{(q_i + u)^\top k_j + (q_i + v)^\top W_R R_{i-j}
      + (q_i + b)^\top s_{ij}}{\sqrt d}, \qquad s_{ij} \in \{s_+, s_-\}$$

    Args:
        both: whether places ahead are scored too.
        segments: whether there is the last term.
        dropout: of the weights.

    Source: Dai et al. (2019), Transformer-XL, arXiv:1901.02860; segments: Yang et al. (2019),
    XLNet, arXiv:1906.08237.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        both: bool = False,
        segments: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"heads must divide dim, got {heads} heads of {dim} features")
        self.dim, self.heads, self.dropout = dim, heads, dropout
        self.query, self.keys, self.values, self.out = (
            nn.Linear(dim, dim, bias=False) for _ in range(4)
        )
        self.places = TransformerXLRelative(dim, heads, both)
        self.b = nn.Parameter(torch.zeros(heads, dim // heads)) if segments else None
        self.s = nn.Parameter(torch.empty(2, heads, dim // heads)) if segments else None
        if self.s is not None:
            nn.init.normal_(self.s, std=0.02)

    def forward(
        self,
        x: Rows,
        seen: Seen | None = None,
        mask: Mask = None,
        other: Bool[Tensor, "batch tokens seen"] | None = None,
    ) -> Rows:
        """Attention of `x` over `seen`, whose last rows are at the places of `x`.

        Args:
            seen: what keys and values are made of; `x` itself if not given.
            other: which pairs are of two segments.
        """
        seen = x if seen is None else seen
        query, keys, values = (
            part.unflatten(-1, (self.heads, -1)).transpose(-3, -2)
            for part in (self.query(x), self.keys(seen), self.values(seen))
        )

        def score(query: Tensor, keys: Tensor) -> Tensor:
            logits = self.places(query, keys)
            if self.s is None or self.b is None or other is None:
                return logits
            kinds = (query + self.b[:, None]) @ self.s.transpose(0, 1).mT  # (..., tokens, 2)
            of_pair = torch.where(other[:, None], kinds[..., 1:], kinds[..., :1])
            return logits + of_pair * query.shape[-1] ** -0.5

        dropout = self.dropout if self.training else 0.0
        context, _ = attend(query, keys, values, score, mask, dropout=dropout)
        return self.out(context.transpose(-3, -2).flatten(-2))

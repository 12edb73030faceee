"""XLNet: every token guessed from any others, in an order that is drawn."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from neurarium.layers import masks
from neurarium.networks._config import remember
from neurarium.networks.transformer_xl import RelativeBlock

__all__ = ["XLNet"]

Tokens = Int[Tensor, "batch tokens"]
Length = Int[Tensor, " batch"] | None
Rows = Float[Tensor, "batch tokens dim"]


class XLNet(nn.Module):
    r"""Two streams through the same blocks: one that knows a token, one that knows only its place.

    $$g_{z_t} \leftarrow \operatorname{Block}(q = g_{z_t},\; k, v = h_{z_{<t}}), \qquad
      h_{z_t} \leftarrow \operatorname{Block}(q = h_{z_t},\; k, v = h_{z_{\le t}}), \qquad
      g^0 = w, \quad h^0_t = E_{x_t}$$

    $p(x_{z_t} \mid x_{z_{<t}}) = \operatorname{softmax}(E g_{z_t} + c)$ for an order $z$ of the
    places. The tokens stay where they are: the order says only who sees whom. Places are told by
    distance, segments by whether two tokens share one. `objectives.permutation_language_model`
    trains it; `encode`, where every token sees all, is what fine-tuning builds on.

    Args:
        vocab: number of tokens.

    Source: Yang et al. (2019), XLNet: Generalized Autoregressive Pretraining for Language
    Understanding, arXiv:1906.08237.
    """

    reads = ("order", "segment", "length")

    def __init__(
        self,
        vocab: int,
        dim: int = 768,
        heads: int = 12,
        layers: int = 12,
        hidden: int | None = None,
        dropout: float = 0.1,
        activation: str = "gelu",
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        remember(self, **{k: v for k, v in locals().items() if k not in ("self", "__class__")})
        self.embedding = nn.Embedding(vocab, dim)
        self.w = nn.Parameter(torch.empty(dim))
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            RelativeBlock(dim, heads, hidden, dropout, activation, eps, both=True, segments=True)
            for _ in range(layers)
        )
        self.head = nn.Linear(dim, vocab)
        self.head.weight = self.embedding.weight
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Weights from N(0, 0.02), biases 0."""
        nn.init.normal_(self.w, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
                if isinstance(module, nn.Linear) and module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(
        self,
        tokens: Tokens,
        order: Tokens | None = None,
        segment: Tokens | None = None,
        length: Length = None,
    ) -> Float[Tensor, "batch tokens vocab"]:
        """Logits of each token given those before it in the order; without one, from left to right.

        Args:
            order: of each row its places, in the order in which they are guessed.
            length: real tokens of each row.
        """
        if order is None:
            order = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        return self.head(self._streams(tokens, order, segment, length)[1])

    def encode(self, tokens: Tokens, segment: Tokens | None = None, length: Length = None) -> Rows:
        """What the last layer says of each token, all of which see each other."""
        return self._streams(tokens, None, segment, length)[0]

    def content(
        self,
        tokens: Tokens,
        order: Tokens,
        segment: Tokens | None = None,
        length: Length = None,
    ) -> Rows:
        """The stream that knows each token and those before it in the order."""
        return self._streams(tokens, order, segment, length)[0]

    def _streams(
        self, tokens: Tokens, order: Tokens | None, segment: Tokens | None, length: Length
    ) -> tuple[Tensor, Any]:
        real = None if length is None else masks.padding(length, tokens.shape[1])[:, None]
        content, query = real, None
        if order is not None:
            content = masks.combine(masks.permutation(order, content=True), real)
            query = _by_head(masks.combine(masks.permutation(order), real))
        other: Bool[Tensor, ...] | None = None
        if segment is None:
            segment = torch.zeros_like(tokens)
        other = segment[:, :, None] != segment[:, None]
        h = self.drop(self.embedding(tokens.long()))
        g = None if order is None else self.drop(self.w.expand_as(h))
        for block in self.blocks:
            next_g = None if g is None else block(g, h, query, other)
            h, g = block(h, None, _by_head(content), other), next_g
        return self.drop(h), None if g is None else self.drop(g)


def _by_head(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else mask[:, None]

"""BERT: an encoder that fills in what was masked, and says whether two texts follow."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from neurarium import activations
from neurarium.layers import masks
from neurarium.layers.transformer import Encoder
from neurarium.networks._config import remember

__all__ = ["BERT"]

Tokens = Int[Tensor, "batch tokens"]
Length = Int[Tensor, " batch"] | None


class BERT(nn.Module):
    r"""A post-norm encoder over tokens, places and segments, with heads for both of its tasks.

    $$h^0_t = \operatorname{LN}(E_{u_t} + P_t + S_{s_t}), \qquad
      p(u_t \mid \tilde u) = \operatorname{softmax}\bigl(E\, \operatorname{LN}(g(W h^L_t))
      + b\bigr), \qquad p(\text{next}) = \operatorname{softmax}(V \tanh(U h^L_1))$$

    A batch holds `input`, and where it has them `segment` and `length`. `objectives.
    masked_language_model` and `next_sentence` train it; `encode` is what fine-tuning builds on.

    Args:
        vocab: number of tokens.
        context: number of places.
        segments: number of segments; the paper's are two.

    Source: Devlin, Chang, Lee & Toutanova (2019), BERT, arXiv:1810.04805.
    """

    reads = ("segment", "length")

    def __init__(
        self,
        vocab: int,
        context: int = 512,
        dim: int = 768,
        heads: int = 12,
        layers: int = 12,
        hidden: int | None = None,
        dropout: float = 0.1,
        segments: int = 2,
        activation: str = "gelu",
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        remember(self, **{k: v for k, v in locals().items() if k not in ("self", "__class__")})
        self.embedding = nn.Embedding(vocab, dim)
        self.places = nn.Embedding(context, dim)
        self.segment = nn.Embedding(segments, dim)
        self.norm = nn.LayerNorm(dim, eps=eps)
        self.drop = nn.Dropout(dropout)
        self.encoder = Encoder(
            dim, heads, layers, hidden=hidden, dropout=dropout, placement="post",
            activation=activation, eps=eps,
        )  # fmt: skip
        self.transform = nn.Sequential(
            nn.Linear(dim, dim), activations.module(activation, dim), nn.LayerNorm(dim, eps=eps)
        )
        self.head = nn.Linear(dim, vocab)
        self.head.weight = self.embedding.weight
        self.pool = nn.Sequential(nn.Linear(dim, dim), nn.Tanh())
        self.next = nn.Linear(dim, 2)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Weights from N(0, 0.02), biases 0."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
                if isinstance(module, nn.Linear):
                    nn.init.zeros_(module.bias)

    def encode(
        self,
        tokens: Tokens,
        segment: Tokens | None = None,
        length: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch tokens dim"]:
        """What the last layer says of each token."""
        size, most = tokens.shape[1], self.places.num_embeddings
        if size > most:
            raise ValueError(
                f"this network knows {most} places (its context), got {size} tokens; cut the "
                "sequence or build with a larger context"
            )
        places = torch.arange(size, device=tokens.device)
        segment = torch.zeros_like(tokens) if segment is None else segment
        h = self.embedding(tokens.long()) + self.places(places) + self.segment(segment.long())
        mask: Bool[Tensor, ...] | None = None
        if length is not None:
            mask = masks.padding(length, size)[:, None, None]
        return self.encoder(self.drop(self.norm(h)), mask)

    def forward(
        self,
        tokens: Tokens,
        segment: Tokens | None = None,
        length: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch tokens vocab"]:
        """Logits of each token as it was before it was masked."""
        return self.head(self.transform(self.encode(tokens, segment, length)))

    def follows(
        self,
        tokens: Tokens,
        segment: Tokens | None = None,
        length: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch 2"]:
        """Logits of whether the second segment follows the first (class 0) or not (1)."""
        return self.next(self.pool(self.encode(tokens, segment, length)[:, 0]))

    def both(self, *inputs: Any) -> tuple[Tensor, Tensor]:
        """Both heads' logits from one pass."""
        h = self.encode(*inputs)
        return self.head(self.transform(h)), self.next(self.pool(h[:, 0]))

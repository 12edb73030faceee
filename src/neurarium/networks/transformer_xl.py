"""Transformer-XL: a causal transformer that goes on seeing the segments before."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from neurarium.layers import masks
from neurarium.layers.attention import RelativeMultiHead
from neurarium.layers.feedforward import FeedForward
from neurarium.networks._config import remember, tokens_of

__all__ = ["TransformerXL"]

Tokens = Int[Tensor, "batch tokens"]
Logits = Float[Tensor, "batch tokens vocab"]
Rows = Float[Tensor, "batch tokens dim"]
State = tuple[Tensor, ...]


class RelativeBlock(nn.Module):
    """A post-norm block whose attention counts distances and may reach beyond its own rows."""

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int | None = None,
        dropout: float = 0.0,
        activation: str = "relu",
        eps: float = 1e-5,
        both: bool = False,
        segments: bool = False,
    ) -> None:
        super().__init__()
        self.attention = RelativeMultiHead(dim, heads, both, segments, dropout)
        self.norm_attention = nn.LayerNorm(dim, eps=eps)
        self.feedforward = FeedForward(dim, hidden or 4 * dim, activation, dropout)
        self.norm_feedforward = nn.LayerNorm(dim, eps=eps)
        self.drop = nn.Dropout(dropout)

    def forward(
        self,
        x: Rows,
        seen: Float[Tensor, "batch seen dim"] | None = None,
        mask: Any = None,
        other: Bool[Tensor, "batch tokens seen"] | None = None,
    ) -> Rows:
        x = self.norm_attention(x + self.drop(self.attention(x, seen, mask, other)))
        return self.norm_feedforward(x + self.drop(self.feedforward(x)))


class TransformerXL(nn.Module):
    r"""A language model of segments, each of which sees what every layer made of the ones before.

    $$\tilde h^l = [\operatorname{SG}(m^l);\, h^l], \qquad
      h^{l+1} = \operatorname{Block}_l(q = h^l,\; k, v = \tilde h^l), \qquad
      m^l \leftarrow \tilde h^l_{\text{last } M}$$

    No gradient flows into the memory $m$. Places are told by distance alone, so a memory as long
    as the past gives what one long pass would, and $L$ layers reach $L M$ steps back. To train it
    on a text: `data.streams` with `learning.BackpropThroughTime(carry=True)`.

    The biases $u$ and $v$ of the score are each layer's own, as with the authors' `untie_r`.

    Args:
        vocab: number of tokens.
        memory: $M$, how many steps are kept of the past; 0 is a plain causal transformer.
        tie: whether the output uses the embedding's weights.

    Source: Dai et al. (2019), Transformer-XL: Attentive Language Models Beyond a Fixed-Length
    Context, arXiv:1901.02860.
    """

    def __init__(
        self,
        vocab: int,
        dim: int = 128,
        heads: int = 4,
        layers: int = 4,
        hidden: int | None = None,
        memory: int = 128,
        dropout: float = 0.0,
        activation: str = "relu",
        tie: bool = True,
    ) -> None:
        super().__init__()
        if memory < 0:
            raise ValueError(f"memory must be at least 0 (steps kept of the past), got {memory}")
        remember(self, **{k: v for k, v in locals().items() if k not in ("self", "__class__")})
        self.embedding = nn.Embedding(vocab, dim)
        nn.init.normal_(self.embedding.weight, std=dim**-0.5)  # so that sqrt(d) E is of size 1
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            RelativeBlock(dim, heads, hidden, dropout, activation) for _ in range(layers)
        )
        self.head = nn.Linear(dim, vocab)
        nn.init.zeros_(self.head.bias)
        if tie:
            self.head.weight = self.embedding.weight

    @classmethod
    def for_data(
        cls,
        input_shape: Sequence[int],
        outputs: int,
        categories: Sequence[int],
        *,
        vocab: int | None = None,
        **arguments: Any,
    ) -> "TransformerXL":
        """A model of the tokens of a text, with a memory as long as the windows."""
        return cls(tokens_of(vocab, cls), **{"memory": input_shape[-1], **arguments})

    def forward(self, tokens: Tokens) -> Logits:
        return self.unroll(tokens)[0]

    def unroll(
        self,
        tokens: Tokens,
        length: Int[Tensor, " batch"] | None = None,
        state: list[State] | None = None,
    ) -> tuple[Logits, list[State]]:
        """Logits after each token, and the memory to go on from: every layer's, and what is real.

        Raises:
            ValueError: for rows that end before others; a memory has no gaps.
        """
        if length is not None and bool((length < tokens.shape[1]).any()):
            raise ValueError(
                f"Transformer-XL remembers whole segments, got rows of {int(length.min())} of "
                f"{tokens.shape[1]} tokens; cut the text into streams of one length"
            )
        h = self.drop(self.embedding(tokens.long()) * self.embedding.embedding_dim**0.5)
        past: list[Any] = [None] * len(self.blocks)
        mask: Any = "causal"
        before = None
        if state is not None:
            *past, before = state[0]
            before = before.bool()
            both = torch.cat([before, torch.ones_like(tokens, dtype=torch.bool)], 1)
            mask = masks.causal(tokens.shape[1], both.shape[1], tokens.device) & both[:, None, None]
        kept: list[Tensor] = []
        for block, memory in zip(self.blocks, past, strict=True):
            seen = h if memory is None else torch.cat([memory, h], 1)
            kept.append(self._last(seen).detach())
            h = block(h, seen, mask)
        real = torch.ones_like(tokens, dtype=torch.bool)
        real = real if before is None else torch.cat([before, real], 1)
        return self.head(self.drop(h)), [(*kept, self._last(real))]

    def _last(self, rows: Tensor) -> Tensor:
        return rows[:, max(0, rows.shape[1] - self.memory) :]  # type: ignore[operator]

    def step(
        self, tokens: Tokens, state: list[State] | None = None
    ) -> tuple[Float[Tensor, "batch _ vocab"], list[State]]:
        """Logits after each of the next tokens, and the state that has seen them."""
        return self.unroll(tokens, None, state)

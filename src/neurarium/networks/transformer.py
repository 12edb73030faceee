"""The transformer: from one sequence of tokens to another."""

from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from neurarium.layers import masks
from neurarium.layers.transformer import Decoder, Encoder, added_positions
from neurarium.networks._config import remember

__all__ = ["Transformer"]

Rows = Float[Tensor, "batch tokens dim"]
Memory = Float[Tensor, "batch others dim"]
State = tuple[Any, ...]


class Transformer(nn.Module):
    r"""Encoder and decoder: from one sequence of tokens to another.

    $$p(y_t \mid y_{<t}, x) = \operatorname{softmax}\bigl(E\, \operatorname{Decoder}(y_{<t},
      \operatorname{Encoder}(x))\bigr), \qquad h^0_t = \sqrt d\, E_{x_t} + P_t$$

    A batch holds `input`, `previous` (the target behind a start token) and `target`.

    Args:
        vocab: number of tokens; source and target share them.
        placement: "post" is the paper's and wants warm-up; "pre" does not.
        positions: "sinusoidal", "learned" (with `context`), "rotary", "alibi", "shaw" or "none".
        tie: whether the output uses the embedding's weights (Press & Wolf, arXiv:1608.05859).
        padding: the token that fills up short sources, which nobody attends to.

    Source: Vaswani et al. (2017), Attention Is All You Need, arXiv:1706.03762.
    """

    reads = ("previous", "source_length")

    def __init__(
        self,
        vocab: int,
        dim: int = 512,
        heads: int = 8,
        layers: int = 6,
        hidden: int = 2048,
        dropout: float = 0.1,
        placement: Literal["pre", "post"] = "post",
        positions: str = "sinusoidal",
        context: int | None = None,
        tie: bool = True,
        padding: int | None = None,
        activation: str = "relu",
        norm: Literal["layer", "rms"] = "layer",
        feedforward: str = "feed_forward",
    ) -> None:
        super().__init__()
        remember(self, **{k: v for k, v in locals().items() if k not in ("self", "__class__")})
        self.embedding = nn.Embedding(vocab, dim)
        nn.init.normal_(self.embedding.weight, std=dim**-0.5)  # so that sqrt(d) E is of size 1
        self.places = added_positions(positions, context, dim)
        block: dict[str, Any] = {
            "hidden": hidden, "dropout": dropout, "placement": placement, "norm": norm,
            "activation": activation, "feedforward": feedforward, "positions": positions,
        }  # fmt: skip
        self.encoder = Encoder(dim, heads, layers, **block)
        self.decoder = Decoder(dim, heads, layers, cross=True, **block)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(dim, vocab, bias=False)
        _glorot(self.encoder, self.decoder)
        if tie:
            self.head.weight = self.embedding.weight

    def embed(self, tokens: Int[Tensor, "batch tokens"], offset: int = 0) -> Rows:
        """Embeddings, scaled, with their places."""
        h = self.embedding(tokens) * self.dim**0.5  # type: ignore[operator]
        return self.drop(h if self.places is None else self.places(h, offset))

    def encode(
        self, source: Int[Tensor, "batch others"], length: Int[Tensor, " batch"] | None = None
    ) -> tuple[Memory, Bool[Tensor, "batch 1 1 others"] | None]:
        """The memory of a source, and which of it is real."""
        real = None
        if length is not None:
            real = masks.padding(length, source.shape[1])
        elif self.padding is not None:
            real = source.ne(self.padding)  # type: ignore[arg-type]
        mask = None if real is None else real[:, None, None]
        return self.encoder(self.embed(source), mask), mask

    def forward(
        self,
        source: Int[Tensor, "batch others"],
        previous: Int[Tensor, "batch tokens"],
        source_length: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch tokens vocab"]:
        """Logits of the token after each of `previous`.

        Args:
            previous: the target one place on: it begins with a start token.
            source_length: number of real tokens of each source.
        """
        memory, mask = self.encode(source, source_length)
        return self.head(self.decoder(self.embed(previous), memory, memory_mask=mask))

    def start(
        self, source: Int[Tensor, "batch others"], length: Int[Tensor, " batch"] | None = None
    ) -> State:
        """The state from which `step` decodes a translation of this source."""
        memory, mask = self.encode(source, length)
        seen = memory.new_ones(len(source), 1, 1, source.shape[1], dtype=torch.bool)
        return None, self.decoder.remember(memory), seen if mask is None else mask

    def step(
        self, tokens: Int[Tensor, "batch tokens"], state: State
    ) -> tuple[Float[Tensor, "batch tokens vocab"], State]:
        """Logits after each of the next tokens, and the state that has seen them."""
        past, memory, mask = state
        before = 0 if past is None else past[0][0].shape[-2]
        h, past = self.decoder.step(self.embed(tokens, before), past, memory, mask)
        return self.head(h), (past, memory, mask)


def _glorot(*parts: nn.Module) -> None:
    for part in parts:
        for parameter in part.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

"""GPT: a causal transformer that predicts the next token."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from neurarium.layers.transformer import Decoder, added_positions
from neurarium.networks._config import remember, tokens_of

__all__ = ["GPT"]

Tokens = Int[Tensor, "batch tokens"]
Logits = Float[Tensor, "batch tokens vocab"]
State = tuple[Any, Tensor]


class GPT(nn.Module):
    r"""A language model: a stack of causal blocks over tokens and their places.

    $$p(u_t \mid u_{<t}) = \operatorname{softmax}(E h^L_t), \qquad
      h^0_t = E_{u_t} + P_t, \quad h^{l+1} = \operatorname{Block}_l(h^l)$$

    The defaults are GPT-2's: normalization before each part and at the end, the residual
    projections started smaller by $1/\sqrt{2L}$. GPT-1 is `placement="post"`; LLaMA is
    `norm="rms", feedforward="swi_glu", positions="rotary", bias=False, tie=False`.

    `step` generates with cached keys and values; `text.decode` has the ways to choose.

    Args:
        vocab: number of tokens.
        context: number of places; a longer past is forgotten by `step`, the older half at once.
        kv_heads: keys and values shared by groups of heads.
        window: how far back each token sees.
        activation: GPT-2's is "gelu:approximate=tanh", which differs by less than 0.001 and takes
            three times as long on a CPU.
        tie: whether the output uses the embedding's weights.

    Source: Radford et al. (2019), Language Models are Unsupervised Multitask Learners; Radford et
    al. (2018), Improving Language Understanding by Generative Pre-Training.
    """

    def __init__(
        self,
        vocab: int,
        context: int = 128,
        dim: int = 128,
        heads: int = 4,
        layers: int = 4,
        hidden: int | None = None,
        dropout: float = 0.0,
        placement: Literal["pre", "post"] = "pre",
        norm: Literal["layer", "rms"] = "layer",
        positions: str = "learned",
        activation: str = "gelu",
        feedforward: str = "feed_forward",
        kv_heads: int | None = None,
        window: int | None = None,
        bias: bool = True,
        tie: bool = True,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        remember(self, **{k: v for k, v in locals().items() if k not in ("self", "__class__")})
        self.embedding = nn.Embedding(vocab, dim)
        self.places = added_positions(positions, context, dim)
        self.drop = nn.Dropout(dropout)
        self.decoder = Decoder(
            dim, heads, layers, window=window, hidden=hidden, dropout=dropout, norm=norm,
            placement=placement, positions=positions, activation=activation, bias=bias, eps=eps,
            feedforward=feedforward, kv_heads=kv_heads,
        )  # fmt: skip
        self.head = nn.Linear(dim, vocab, bias=False)
        if tie:
            self.head.weight = self.embedding.weight
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """GPT-2's start: 0.02, and less where layers add to the residual stream."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
                if isinstance(module, nn.Linear) and module.bias is not None:
                    nn.init.zeros_(module.bias)
        for name, parameter in self.named_parameters():
            if name.endswith(("attention.out.weight", "down.weight")):
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * len(self.decoder.blocks)))

    @classmethod
    def for_data(
        cls,
        input_shape: Sequence[int],
        outputs: int,
        categories: Sequence[int],
        *,
        vocab: int | None = None,
        **arguments: Any,
    ) -> "GPT":
        """A model of the tokens of a text for windows of this length."""
        return cls(tokens_of(vocab, cls), **{"context": input_shape[-1], **arguments})

    def forward(self, tokens: Tokens) -> Logits:
        return self.head(self.decoder(self._embed(tokens, 0)))

    def _embed(self, tokens: Tensor, offset: int) -> Tensor:
        h = self.embedding(tokens.long())
        return self.drop(h if self.places is None else self.places(h, offset))

    def step(
        self, tokens: Tokens, state: State | None = None
    ) -> tuple[Float[Tensor, "batch _ vocab"], State]:
        """Logits after each of the next tokens, and the state that has seen them.

        Of more tokens than the context holds only the last count, and are answered.
        """
        past, seen = (None, tokens[:, :0]) if state is None else state
        if seen.shape[1] + tokens.shape[1] > self.context:  # type: ignore[operator]
            # Places are counted from the start of the cache: begin anew with the recent half.
            kept = torch.cat([seen, tokens], 1)[:, -max(self.context // 2, tokens.shape[1]) :]  # type: ignore[operator]
            kept = kept[:, -self.context :]  # type: ignore[operator]
            logits, state = self.step(kept)
            return logits[:, -tokens.shape[1] :], state
        h, past = self.decoder.step(self._embed(tokens, seen.shape[1]), past)
        return self.head(h), (past, torch.cat([seen, tokens], 1))

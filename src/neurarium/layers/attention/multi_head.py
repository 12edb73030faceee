"""Several attentions side by side, each in a subspace of its own."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium.layers.attention.attend import attend
from neurarium.layers.attention.normalizers import Normalizer
from neurarium.layers.attention.scores import ScaledDot
from neurarium.layers.positions import RelativeShaw, Rotary

__all__ = ["MultiHead"]

Rows = Float[Tensor, "batch tokens dim"]
Past = tuple[Tensor, Tensor]


class MultiHead(nn.Module):
    r"""Attention of `heads` heads: self-attention of `x`, or of `x` over a `memory`.

    $$\text{head}_j = \operatorname{softmax}\!\Bigl(\frac{X W^Q_j (Y W^K_j)^\top}{\sqrt{d/h}}\Bigr)
      Y W^V_j, \qquad Z = [\text{head}_1; \dots; \text{head}_h]\, W^O$$

    Args:
        kv_heads: keys and values shared by groups of heads: fewer than `heads` is grouped-query,
            1 multi-query attention (Ainslie et al., arXiv:2305.13245).
        dropout: of the weights.
        score: instead of the scaled dot product, on heads: `ALiBi(heads)`, `RelativeShaw(...)`.
        rotary: turns queries and keys by their places.
        normalize: as `attend`'s.

    Source: Vaswani et al. (2017), Attention Is All You Need, arXiv:1706.03762.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        kv_heads: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        score: nn.Module | None = None,
        rotary: Rotary | None = None,
        normalize: str | Normalizer = "softmax",
    ) -> None:
        super().__init__()
        kv_heads = heads if kv_heads is None else kv_heads
        if dim % heads:
            raise ValueError(f"heads must divide dim, got {heads} heads of {dim} features")
        if heads % kv_heads:
            raise ValueError(f"kv_heads must divide heads, got {kv_heads} for {heads} heads")
        self.dim, self.heads, self.kv_heads, self.dropout = dim, heads, kv_heads, dropout
        self.score = ScaledDot() if score is None else score
        self.rotary, self.normalize = rotary, normalize
        self.shared = kv_heads * (dim // heads)
        # One product for queries, keys and values, as in nn.MultiheadAttention's in_proj_weight.
        self.project = nn.Linear(dim, dim + 2 * self.shared, bias=bias)
        self.out = nn.Linear(dim, dim, bias=bias)

    def forward(
        self,
        x: Rows,
        memory: Float[Tensor, "batch others dim"] | None = None,
        mask: Bool[Tensor, "..."] | Literal["causal"] | None = None,
    ) -> Rows:
        query, keys, values = self._project(x, memory)
        if self.rotary is not None:
            query, keys = self.rotary(query), self.rotary(keys)
        return self._attend(query, keys, values, mask)

    def step(
        self, x: Rows, past: Past | None = None, window: int | None = None
    ) -> tuple[Rows, Past]:
        """Causal self-attention of the next tokens, given keys and values of those before.

        Args:
            window: how far back each token sees.
        """
        from neurarium.layers import masks

        query, keys, values = self._project(x, None)
        before = 0 if past is None else past[0].shape[-2]
        if self.rotary is not None:
            query, keys = self.rotary(query, before), self.rotary(keys, before)
        if past is not None:
            keys, values = torch.cat([past[0], keys], -2), torch.cat([past[1], values], -2)
        mask: Tensor | Literal["causal"] = "causal"
        if window is not None:
            mask = masks.window(window, query.shape[-2], keys.shape[-2], x.device)
        return self._attend(query, keys, values, mask), (keys, values)

    def remember(self, memory: Float[Tensor, "batch others dim"]) -> Past:
        """Keys and values of a memory, to be read with `recall` at each step."""
        _, keys, values = self._split(None, self._of_memory(memory))
        return keys, values

    def recall(self, x: Rows, past: Past, mask: Bool[Tensor, "..."] | None = None) -> Rows:
        """Attention of `x` over what `remember` returned."""
        bias = None if self.project.bias is None else self.project.bias[: self.dim]
        query = F.linear(x, self.project.weight[: self.dim], bias)
        return self._attend(self._heads(query), *past, mask)

    def _project(self, x: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        if memory is None:
            query, rest = self.project(x).split([self.dim, 2 * self.shared], -1)
            return self._split(query, rest)
        bias = None if self.project.bias is None else self.project.bias[: self.dim]
        query = F.linear(x, self.project.weight[: self.dim], bias)
        return self._split(query, self._of_memory(memory))

    def _of_memory(self, memory: Tensor) -> Tensor:
        bias = None if self.project.bias is None else self.project.bias[self.dim :]
        return F.linear(memory, self.project.weight[self.dim :], bias)

    def _split(self, query: Tensor | None, rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keys, values = (self._heads(part) for part in rest.split(self.shared, -1))
        return (keys if query is None else self._heads(query)), keys, values

    def _heads(self, rows: Tensor) -> Tensor:
        return rows.unflatten(-1, (-1, self.dim // self.heads)).transpose(-3, -2)

    def _attend(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | Literal["causal"] | None,
    ) -> Tensor:
        if self.kv_heads != self.heads:
            group = self.heads // self.kv_heads
            keys, values = (rows.repeat_interleave(group, -3) for rows in (keys, values))
        shaw = self.score if isinstance(self.score, RelativeShaw) else None
        context, weights = attend(
            query,
            keys,
            values,
            self.score,
            mask,
            self.normalize,
            self.dropout if self.training else 0.0,
            return_weights=shaw is not None,  # type: ignore[call-overload]
        )
        if shaw is not None:
            context = context + shaw.values(weights)
        return self.out(context.transpose(-3, -2).flatten(-2))

    @torch.no_grad()
    def load_torch(self, other: nn.MultiheadAttention) -> "MultiHead":
        """Take the weights of torch's module of the same form."""
        if other.in_proj_weight is None or self.kv_heads != self.heads:
            raise ValueError("only a module with one size for queries, keys and values fits here")
        self.project.weight.copy_(other.in_proj_weight)
        self.out.weight.copy_(other.out_proj.weight)
        if self.project.bias is not None:
            self.project.bias.copy_(other.in_proj_bias)
            self.out.bias.copy_(other.out_proj.bias)
        return self

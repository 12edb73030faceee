"""Attention, of which every other is a choice of parts: score, mask, normalizer, heads."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Literal, overload

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from neurarium.layers import masks
from neurarium.layers.attention.normalizers import Normalizer, normalizer
from neurarium.layers.attention.scores import ScaledDot

__all__ = ["Attention", "attend", "recording"]

Score = Callable[[Tensor, Tensor], Tensor]
Mask = Bool[Tensor, "..."] | Literal["causal"] | None
Rows = Float[Tensor, "..."]

_SCALED = ScaledDot()
_recorded: list[Tensor] | None = None


@overload
def attend(
    query: Rows,
    keys: Rows,
    values: Rows,
    score: Score = ...,
    mask: Mask = ...,
    normalize: str | Normalizer = ...,
    dropout: float = ...,
    return_weights: Literal[True] = ...,
) -> tuple[Rows, Rows]: ...
@overload
def attend(
    query: Rows,
    keys: Rows,
    values: Rows,
    score: Score = ...,
    mask: Mask = ...,
    normalize: str | Normalizer = ...,
    dropout: float = ...,
    *,
    return_weights: Literal[False],
) -> tuple[Rows, None]: ...
def attend(
    query: Rows,
    keys: Rows,
    values: Rows,
    score: Score = _SCALED,
    mask: Mask = None,
    normalize: str | Normalizer = "softmax",
    dropout: float = 0.0,
    return_weights: bool = True,
) -> tuple[Rows, Rows | None]:
    r"""A mean of the values, weighted by how well their keys answer the query.

    $$\alpha_{ij} = \operatorname{softmax}_j\, s(q_i, k_j), \qquad z_i = \sum_j \alpha_{ij}\, v_j$$

    A query that may attend to nothing gets zeros, and sends no gradient. What hidden keys and
    values hold, be it NaN, changes nothing. Weights are returned per head, before dropout.

    Args:
        query: (..., queries, features); batch and heads lead.
        keys: (..., keys, features).
        values: (..., keys, value features).
        score: one of `layers.attention`'s, or any function (query, keys) -> logits.
        mask: True = may attend, broadcast to (..., queries, keys); "causal" hides the future.
        normalize: "softmax", "sparsemax", "entmax15", "sigmoid" (weights that need not sum to 1)
            or a function (logits, mask) -> weights.
        dropout: share of the weights that are set to 0, the others scaled up.
        return_weights: without them softmax of a scaled dot runs torch's fused kernel.

    Source: Bahdanau, Cho & Bengio (2015), arXiv:1409.0473; Vaswani et al. (2017),
    arXiv:1706.03762.
    """
    if isinstance(mask, Tensor):
        keys, values = _without_hidden(keys, mask), _without_hidden(values, mask)
    fused = isinstance(score, ScaledDot) and normalize == "softmax" and _recorded is None
    if fused and not return_weights:
        assert isinstance(score, ScaledDot)
        return _fused(query, keys, values, score, mask, dropout), None
    if mask == "causal":
        mask = masks.causal(query.shape[-2], keys.shape[-2], query.device)
    weights = normalizer(normalize)(score(query, keys), mask)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0)
    if _recorded is not None:
        _recorded.append(weights.detach())
    used = F.dropout(weights, dropout) if dropout else weights
    return used @ values, weights if return_weights else None


def _fused(
    query: Tensor, keys: Tensor, values: Tensor, score: ScaledDot, mask: Mask, dropout: float
) -> Tensor:
    causal = mask == "causal"
    if causal and query.shape[-2] != keys.shape[-2]:
        # The kernel's own causal mask would align the first query with the first key.
        causal, mask = False, masks.causal(query.shape[-2], keys.shape[-2], query.device)
    scale = score.factor(query.shape[-1])
    with contextlib.ExitStack() as stack:
        on_cpu = query.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        if on_cpu and torch.is_grad_enabled():  # its backward in bf16 takes 4 times fp32's
            stack.enter_context(torch.autocast("cpu", enabled=False))
            if (causal or mask is None) and _fits(query, keys, values):
                return _products(query, keys, values, causal, scale, dropout)
            query, keys, values = query.float(), keys.float(), values.float()
        return F.scaled_dot_product_attention(
            query,
            keys,
            values,
            attn_mask=None if causal or mask is None else mask,  # type: ignore[arg-type]
            dropout_p=dropout,
            is_causal=causal,
            scale=scale,
        )


def _fits(query: Tensor, keys: Tensor, values: Tensor) -> bool:
    """Whether all weights of a head lie in a core's cache, between two products."""
    heads = query.shape[:-2]
    alike = bool(heads) and heads == keys.shape[:-2] == values.shape[:-2]
    return alike and query.shape[-2] * keys.shape[-2] <= 2**16


def _products(
    query: Tensor, keys: Tensor, values: Tensor, causal: bool, scale: float, dropout: float
) -> Tensor:
    """Two products in bf16: of short sequences 0.6 of the time of the fused kernel in fp32."""
    q, k, v = (x.to(torch.bfloat16).flatten(0, -3) for x in (query, keys, values))
    bias = q.new_zeros(q.shape[1], k.shape[1])
    if causal:
        bias.masked_fill_(~masks.causal(q.shape[1], k.shape[1], q.device), float("-inf"))
    weights = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=scale).softmax(-1)
    weights = F.dropout(weights, dropout) if dropout else weights
    return torch.bmm(weights, v).view(*query.shape[:-1], values.shape[-1])


def _without_hidden(rows: Tensor, mask: Tensor) -> Tensor:
    """Zeros for keys that no query may see: 0 times NaN would be NaN."""
    return torch.where(mask.any(-2)[..., None], rows, 0)


@contextlib.contextmanager
def recording() -> Iterator[list[Tensor]]:
    """Inside, every `attend` leaves its weights in the list, in the order of the calls.

    Example:
        >>> with recording() as maps:
        ...     _ = attend(torch.ones(1, 2), torch.ones(3, 2), torch.ones(3, 2))
        >>> maps[0].shape
        torch.Size([1, 3])
    """
    global _recorded
    before, _recorded = _recorded, []
    try:
        yield _recorded
    finally:
        _recorded = before


class Attention(nn.Module):
    r"""Attention with a score and a normalizer of one's choice, as a module.

    $$z_i = \sum_j \operatorname{normalize}_j\bigl(s(q_i, k_j)\bigr)\, v_j$$

    Source: Bahdanau, Cho & Bengio (2015), arXiv:1409.0473.
    """

    def __init__(
        self,
        score: nn.Module | None = None,
        normalize: str | Normalizer = "softmax",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.score = ScaledDot() if score is None else score
        self.normalize, self.dropout = normalize, dropout
        normalizer(normalize)  # a wrong name is told here

    def forward(
        self, query: Rows, keys: Rows, values: Rows | None = None, mask: Mask = None
    ) -> tuple[Rows, Rows]:
        values = keys if values is None else values
        dropout = self.dropout if self.training else 0.0
        return attend(query, keys, values, self.score, mask, self.normalize, dropout)

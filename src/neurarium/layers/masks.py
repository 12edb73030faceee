"""Who may attend to whom: boolean masks, True where attending is allowed."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["causal", "combine", "padding", "permutation", "to_torch_mha", "window"]


def padding(length: Int[Tensor, "*batch"], size: int) -> Bool[Tensor, "*batch size"]:
    r"""Which of `size` places hold something real, given how many do.

    $$m_j = [\,j < \text{length}\,]$$

    To hide padded keys from every head and query: `padding(length, size)[:, None, None]`.

    Source: Vaswani et al. (2017), Attention Is All You Need, arXiv:1706.03762.
    """
    return torch.arange(size, device=length.device) < length[..., None]


def causal(
    queries: int, keys: int | None = None, device: torch.device | str | None = None
) -> Bool[Tensor, "queries keys"]:
    r"""Each place sees itself and the past.

    $$m_{ij} = [\,j \le i + K - Q\,]$$

    With more keys than queries the queries are the last places, as when a cache holds the past.

    Source: Vaswani et al. (2017), Attention Is All You Need, arXiv:1706.03762.
    """
    return window(None, queries, keys, device)


def window(
    width: int | None,
    queries: int,
    keys: int | None = None,
    device: torch.device | str | None = None,
) -> Bool[Tensor, "queries keys"]:
    r"""Each place sees itself and at most `width` places before it; None sets no limit.

    $$m_{ij} = [\,i + K - Q - w \le j \le i + K - Q\,]$$

    Source: Child, Gray, Radford & Sutskever (2019), Generating Long Sequences with Sparse
    Transformers, arXiv:1904.10509.
    """
    if width is not None and width < 0:
        raise ValueError(f"width must be at least 0 (each place sees itself), got {width}")
    keys = queries if keys is None else keys
    ago = torch.arange(queries, device=device)[:, None] + (keys - queries)
    ago = ago - torch.arange(keys, device=device)
    return ago >= 0 if width is None else (ago >= 0) & (ago <= width)


def permutation(
    order: Int[Tensor, "*batch size"], content: bool = False
) -> Bool[Tensor, "*batch size size"]:
    r"""Each place sees those that come before it in `order`; with `content` also itself.

    $$m_{ij} = [\,r_j < r_i\,], \qquad \text{content: } [\,r_j \le r_i\,],
      \qquad r = \text{order}^{-1}$$

    Args:
        order: places in the order in which they are predicted. The tokens stay where they are.

    Source: Yang et al. (2019), XLNet, arXiv:1906.08237.
    """
    rank = order.argsort(-1)
    mine, others = rank[..., :, None], rank[..., None, :]
    return others <= mine if content else others < mine


def combine(*masks: Bool[Tensor, "..."] | None) -> Bool[Tensor, "..."] | None:
    r"""What all of them allow; None allows everything.

    $$m = \textstyle\prod_n m^{(n)}$$

    Source: Vaswani et al. (2017), Attention Is All You Need, arXiv:1706.03762.
    """
    together = None
    for mask in masks:
        if mask is not None:
            together = mask if together is None else together & mask
    return together


def to_torch_mha(mask: Bool[Tensor, "..."]) -> Bool[Tensor, "..."]:
    r"""The same mask as `nn.MultiheadAttention` and `nn.Transformer` read it: True = ignore.

    $$m' = 1 - m$$

    Their `scaled_dot_product_attention` reads it as we do; give this one to `attn_mask` (one for
    each head: batch x heads first) or, from `padding`, to `key_padding_mask`.

    Source: torch's documentation of `nn.MultiheadAttention`.
    """
    return ~mask


def fill(logits: Float[Tensor, "..."], mask: Bool[Tensor, "..."] | None) -> Float[Tensor, "..."]:
    """Logits that lose wherever the mask forbids, without infinities."""
    # -inf in a whole row would make it NaN, in the gradient too; the lowest number makes it
    # uniform, and `attend` then clears it.
    return logits if mask is None else logits.masked_fill(~mask, torch.finfo(logits.dtype).min)

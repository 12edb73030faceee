"""A codec that stores small gradients in few bits, to a bounded error."""

import math

import torch
from torch import Tensor

from neurarium.training.distributed.compressor import (
    Compressor,
    as_bytes,
    from_bytes,
    pack,
    packed_length,
    unpack,
)

__all__ = ["FloatTruncate"]


class FloatTruncate(Compressor):
    r"""Write each fp32 number in 0, 8, 16 or 32 bits by its size, never wrong by more than a bound.

    $$|g - \hat g| < 2^{-E}, \qquad \text{bits}(g) = \begin{cases}
      0 & |g| < 2^{-E} \\ 8 & 2^{-E} \le |g| < 2^{-\lceil E/2 \rceil} \\
      16 & 2^{-\lceil E/2 \rceil} \le |g| < 1 \\ 32 & |g| \ge 1 \end{cases}$$

    Two bits of each number tell its class. Eight bits are the sign and the seven binary places
    after the $\lceil E/2 \rceil$-th, sixteen the sign and the first fifteen: the rest is cut off,
    as hardware does it cheaply. Gradients are mostly small, so most numbers take 2 or 10 bits.

    Args:
        bound: $2^{-E}$, from $2^{-14}$ to $2^{-1}$; other values are rounded down to such a power.

    Source: Li et al. (2018), A Network-Centric Hardware/Algorithm Co-Design to Accelerate
    Distributed Training of Deep Neural Networks (INCEPTIONN), MICRO.
    """

    def __init__(self, bound: float = 2**-10) -> None:
        super().__init__()
        if not 2**-14 <= bound <= 0.5:
            raise ValueError(
                f"bound must lie in [2**-14, 2**-1], got {bound}; 16 bits hold no finer numbers"
            )
        self.bound = bound
        self.exponent = -math.floor(math.log2(bound))
        self.shift = math.ceil(self.exponent / 2)

    def encode(self, layer: int, gradient: Tensor, scale: Tensor | None) -> Tensor:
        g = gradient.reshape(-1).float()
        size = g.abs()
        limits = torch.tensor([2.0**-self.exponent, 2.0**-self.shift, 1.0], device=g.device)
        kind = torch.bucketize(size, limits, right=True)
        kind[~g.isfinite()] = 3  # what went wrong must stay visible
        eight, sixteen = g[kind == 1], g[kind == 2]
        byte = _signed(eight, self.shift + 7, sign=2**7)
        word = _signed(sixteen, 15, sign=2**15)
        return torch.cat(
            [
                pack(kind, bits=2),
                byte.to(torch.uint8),
                as_bytes(torch.stack([word & 255, word >> 8], 1).to(torch.uint8)),
                as_bytes(g[kind == 3]),
            ]
        )

    def decode(self, payload: Tensor, like: Tensor, scale: Tensor | None) -> Tensor:
        tags = packed_length(like.numel(), 2)
        kind = unpack(payload[:tags], 2, like.numel())
        counts = torch.bincount(kind, minlength=4).tolist()
        byte, word, raw = payload[tags:].split([counts[1], 2 * counts[2], 4 * counts[3]])
        low, high = word.int().reshape(-1, 2).unbind(1)
        g = torch.zeros(like.numel(), device=like.device)
        g[kind == 1] = _unsigned(byte.int(), self.shift + 7, sign=2**7)
        g[kind == 2] = _unsigned(low | high << 8, 15, sign=2**15)
        g[kind == 3] = from_bytes(raw, torch.float32)
        return g.to(like.dtype).reshape(like.shape)


def _signed(values: Tensor, places: int, sign: int) -> Tensor:
    """The binary places of |value| < 1 as a whole number, with a bit for the sign."""
    return (values.abs() * 2.0**places).int() | (values < 0).int() * sign


def _unsigned(codes: Tensor, places: int, sign: int) -> Tensor:
    size = (codes & (sign - 1)).float() * 2.0**-places
    return torch.where(codes >= sign, -size, size)

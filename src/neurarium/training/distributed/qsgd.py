"""QSGD: random rounding to evenly spaced levels."""

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

__all__ = ["QSGD"]


class QSGD(Compressor):
    r"""Round each entry at random to one of s levels of the gradient's norm, right on average.

    $$Q(g)_i = \lVert g \rVert \operatorname{sign}(g_i)\, \frac{\xi_i}{s}, \qquad
      \xi_i = \lfloor a_i \rfloor + \operatorname{Bernoulli}(a_i - \lfloor a_i \rfloor), \qquad
      a_i = \frac{s\,|g_i|}{\lVert g \rVert}$$

    Unbiased, with variance at most $\min(d/s^2, \sqrt d/s)\, \lVert g \rVert^2$. Norm and levels
    are per tensor, or of each block of `bucket` entries, which keeps d small. The levels are sent
    in $\lceil \log_2(2s + 1) \rceil$ bits each; the paper's Elias code is shorter where few levels
    are not zero.

    Args:
        levels: s.
        bucket: entries that share a norm; None takes the whole tensor.
        seed: of the random roundings.

    Source: Alistarh et al. (2017), QSGD: Communication-Efficient SGD via Gradient Quantization and
    Encoding, arXiv:1610.02132.
    """

    def __init__(self, levels: int = 4, bucket: int | None = 512, seed: int = 0) -> None:
        super().__init__(seed)
        if not 1 <= levels <= 127:
            raise ValueError(f"levels must lie in 1 ... 127 (8 bits with the sign), got {levels}")
        if bucket is not None and bucket < 1:
            raise ValueError(f"bucket must be at least 1 entry, got {bucket}; None is the tensor")
        self.levels, self.bucket = levels, bucket
        self.bits = (2 * levels).bit_length()

    def _blocks(self, values: Tensor) -> Tensor:
        size = min(self.bucket or values.numel(), values.numel())
        flat = values.reshape(-1)
        return torch.nn.functional.pad(flat, (0, -len(flat) % size)).reshape(-1, size)

    def encode(self, layer: int, gradient: Tensor, scale: Tensor | None) -> Tensor:
        blocks = self._blocks(gradient)
        norms = blocks.norm(dim=1, keepdim=True)
        a = self.levels * blocks.abs() / torch.where(norms > 0, norms, 1)
        rounded = a.floor() + (self._blocks(self.draw(layer, gradient)) < a - a.floor())
        # An entry that is its block's whole norm can come out a rounding error above it.
        codes = (blocks.sign() * rounded.clamp(max=self.levels) + self.levels).reshape(-1)
        return torch.cat([as_bytes(norms), pack(codes[: gradient.numel()], self.bits)])

    def decode(self, payload: Tensor, like: Tensor, scale: Tensor | None) -> Tensor:
        count = len(self._blocks(like)) * like.element_size()
        norms = from_bytes(payload[:count], like.dtype)
        codes = unpack(payload[count:], self.bits, like.numel()) - self.levels
        values = self._blocks(codes.to(like.dtype)) / self.levels * norms[:, None]
        return values.reshape(-1)[: like.numel()].reshape(like.shape)

    def length(self, like: Tensor) -> int:
        norms = len(self._blocks(like)) * like.element_size()
        return norms + packed_length(like.numel(), self.bits)

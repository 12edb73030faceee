"""One bit an entry: the sign, with what it leaves out sent later."""

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

__all__ = ["SignSGD"]


class SignSGD(Compressor):
    r"""Send the signs and one magnitude; what that gets wrong is added to the next gradient.

    $$p = g + e, \qquad \text{sent} = \frac{\lVert p \rVert_1}{d} \operatorname{sign}(p), \qquad
      e \leftarrow p - \text{sent}$$

    One bit an entry: a thirty-second of fp32. By the error feedback all of the gradient arrives in
    the end ($\sum \text{sent} + e = \sum g$); signs alone can fail to converge. A zero counts as
    positive.

    Args:
        error_feedback: whether $e$ is kept; without it $e = 0$, scaled signSGD.

    Source: Seide et al. (2014), 1-bit stochastic gradient descent, Interspeech; Karimireddy et al.
    (2019), Error Feedback Fixes SignSGD and other Gradient Compression Schemes, arXiv:1901.09847.
    """

    def __init__(self, error_feedback: bool = True) -> None:
        super().__init__()
        self.error_feedback = error_feedback

    def encode(self, layer: int, gradient: Tensor, scale: Tensor | None) -> Tensor:
        memory = self.memory.setdefault(layer, {})
        p = gradient + memory["error"] if "error" in memory else gradient
        payload = torch.cat([as_bytes(p.abs().mean()), pack(p >= 0, bits=1)])
        if self.error_feedback:
            memory["error"] = p - self.decode(payload, p, None)
        return payload

    def decode(self, payload: Tensor, like: Tensor, scale: Tensor | None) -> Tensor:
        magnitude = from_bytes(payload[: like.element_size()], like.dtype)
        signs = 2 * unpack(payload[like.element_size() :], 1, like.numel()) - 1
        return (signs * magnitude).reshape(like.shape)

    def length(self, like: Tensor) -> int:
        return like.element_size() + packed_length(like.numel(), 1)

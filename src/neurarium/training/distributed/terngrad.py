"""TernGrad: each entry of a gradient as one of three levels."""

import torch
from torch import Tensor

from neurarium.training.distributed.compressor import Compressor, pack, packed_length, unpack

__all__ = ["TernGrad"]


class TernGrad(Compressor):
    r"""Send each entry of the gradient as -1, 0 or 1 times one number, right on average.

    $$\tilde g = s \operatorname{sign}(g) \circ b, \qquad P(b_i = 1) = \frac{|g_i|}{s}, \qquad
      s = \max_{\text{workers}} \max_i |g_i|$$

    with $g$ clipped to `clip_sigma` standard deviations first. Two bits an entry: a sixteenth of
    fp32. As all workers share $s$, the average of N has at most 2N + 1 levels, so a server can
    answer in $\log_2(2N + 1)$ bits.

    Args:
        clip_sigma: c in the clipping to $\pm c\sigma$; None does not clip. Without clipping the
            result is unbiased, with it unbiased for the clipped gradient.
        layerwise: whether each tensor has its own $s$, or all have one.
        seed: of the random roundings.

    Source: Wen et al. (2017), TernGrad: Ternary Gradients to Reduce Communication in Distributed
    Deep Learning, arXiv:1705.07878.
    """

    def __init__(
        self, clip_sigma: float | None = 2.5, layerwise: bool = True, seed: int = 0
    ) -> None:
        super().__init__(seed)
        if clip_sigma is not None and not clip_sigma > 0:
            raise ValueError(
                f"clip_sigma must be positive, got {clip_sigma}; None turns the clipping off"
            )
        self.clip_sigma, self.layerwise = clip_sigma, layerwise
        self.whole_gradient = not layerwise

    def prepare(self, gradients: list[Tensor]) -> tuple[list[Tensor], Tensor | None]:
        if self.clip_sigma is not None:
            gradients = [_clipped(g, self.clip_sigma) for g in gradients]
        scales = torch.stack([g.abs().amax() for g in gradients])
        return gradients, scales if self.layerwise else scales.amax().expand_as(scales).clone()

    def encode(self, layer: int, gradient: Tensor, scale: Tensor | None) -> Tensor:
        assert scale is not None
        kept = self.draw(layer, gradient) * scale < gradient.abs()
        return pack(gradient.sign() * kept + 1, bits=2)

    def decode(self, payload: Tensor, like: Tensor, scale: Tensor | None) -> Tensor:
        assert scale is not None
        return (unpack(payload, 2, like.numel()) - 1).to(like.dtype).reshape(like.shape) * scale

    def length(self, like: Tensor) -> int:
        return packed_length(like.numel(), 2)


def _clipped(gradient: Tensor, sigmas: float) -> Tensor:
    bound = sigmas * gradient.std(correction=0)
    # Numbers without a spread, such as one alone, would be clipped to nothing.
    return torch.where(bound > 0, gradient.clamp(-bound, bound), gradient)

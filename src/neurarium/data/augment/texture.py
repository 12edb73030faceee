"""Other textures, the same shapes."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Num
from torch import Tensor

from neurarium.data.augment.base import Images, Photometric, check_probability, in_floats

__all__ = ["PatchShuffle", "Stylize", "amplitude_swap", "patch_shuffle", "stylize"]

Transfer = Callable[[Tensor, Tensor], Tensor]


def amplitude_swap(images: Images, textures: Images) -> Images:
    r"""Amplitudes of the texture's spectrum with the phases of the image's.

    $$x' = \mathcal F^{-1}\Bigl(|\mathcal F t|\; e^{\mathrm i \arg \mathcal F x}\Bigr)$$

    Phases hold edges and places, amplitudes what repeats; a cheap stand-in for style transfer.

    Source: Oppenheim & Lim (1981), The importance of phase in signals, Proc. IEEE 69(5); as a
    change of style: Yang & Soatto (2020), FDA, arXiv:2004.05498.
    """
    if images.shape != textures.shape:
        raise ValueError(
            f"images and textures must have one shape, got {tuple(images.shape)} and "
            f"{tuple(textures.shape)}; resize the textures, or let stylize pair them"
        )

    def swap(x: Tensor) -> Tensor:
        amplitude = torch.fft.rfft2(textures.to(x.dtype)).abs()
        phase = torch.fft.rfft2(x).angle()
        return torch.fft.irfft2(torch.polar(amplitude, phase), s=x.shape[-2:])

    return in_floats(images, swap)


def patch_shuffle(images: Images, size: int = 8) -> Images:
    r"""Cut each image into squares and put them back in random order: textures without shapes.

    $$x'_{\text{patch } k} = x_{\text{patch } \pi(k)}, \qquad
      \pi \sim \mathcal U(\text{permutations})$$

    Args:
        size: side of the squares in pixels; it must divide height and width.

    Source: Gatys, Ecker & Bethge (2017), Texture and art with deep neural networks, Current
    Opinion in Neurobiology 46; as augmentation: Kang et al. (2017), PatchShuffle Regularization,
    arXiv:1707.07103.
    """
    n, channels, height, width = images.shape
    if size < 1 or height % size or width % size:
        raise ValueError(
            f"size must divide height and width, got {size} and {height} x {width}; "
            f"{math.gcd(height, width)} is the largest that does"
        )
    down, across = height // size, width // size
    patches = images.reshape(n, channels, down, size, across, size).transpose(3, 4)
    patches = patches.reshape(n, channels, down * across, size * size)
    order = torch.rand(n, down * across, device=images.device).argsort(1)
    patches = patches.gather(2, order[:, None, :, None].expand_as(patches))
    back = patches.reshape(n, channels, down, across, size, size).transpose(3, 4)
    return back.reshape(images.shape)


def stylize(
    images: Images,
    textures: Num[Tensor, "m channels height width"],
    transfer: Transfer = amplitude_swap,
) -> Images:
    r"""Give each image the texture of one drawn at random, so that only shapes tell the class.

    $$x'_i = T(x_i,\, t_{r_i}), \qquad r_i \sim \mathcal U\{1, \dots, M\}$$

    Args:
        textures: (M, channels, height, width), none of them tied to a class.
        transfer: a function (images, textures) -> images, all of one shape; the paper's is AdaIN
            style transfer.

    Source: Geirhos et al. (2019), ImageNet-trained CNNs are biased towards texture, ICLR,
    arXiv:1811.12231.
    """
    drawn = torch.randint(len(textures), (len(images),), device=images.device)
    return transfer(images, textures.to(images.device)[drawn])


class PatchShuffle(Photometric):
    r"""Show some images cut into squares and shuffled.

    $$x' = \begin{cases}\text{shuffled } x & \text{with probability } p\\ x & \text{else}
      \end{cases}$$

    Args:
        size: side of the squares in pixels; it must divide height and width.
        p: share of the images; the paper's 0.05.

    Source: Kang et al. (2017), PatchShuffle Regularization, arXiv:1707.07103.
    """

    def __init__(self, size: int = 2, p: float = 0.05) -> None:
        check_probability(p)
        self.size, self.p = size, p

    def _change(self, images: Images) -> Images:
        return patch_shuffle(images, self.size)


class Stylize(Photometric):
    r"""`stylize` as an augmentation: other textures in every epoch.

    $$x'_i = T(x_i,\, t_{r_i}), \qquad r_i \sim \mathcal U\{1, \dots, M\}$$

    Args:
        textures: (M, channels, height, width), none of them tied to a class.
        transfer: a function (images, textures) -> images of equal shapes.
        p: share of the images whose texture is replaced.

    Source: Geirhos et al. (2019), ImageNet-trained CNNs are biased towards texture, ICLR,
    arXiv:1811.12231.
    """

    def __init__(
        self, textures: Images, transfer: Transfer = amplitude_swap, p: float = 1.0
    ) -> None:
        check_probability(p)
        self.textures, self.transfer, self.p = textures, transfer, p

    def _change(self, images: Images) -> Images:
        return stylize(images, self.textures, self.transfer)

    def __repr__(self) -> str:
        shape = tuple(self.textures.shape)
        name = getattr(self.transfer, "__name__", repr(self.transfer))
        return f"Stylize(textures of {shape}, transfer={name}, p={self.p})"

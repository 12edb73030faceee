"""What light and camera do: noise, brightness, contrast, colour."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.data.augment.base import (
    Images,
    Photometric,
    check_probability,
    in_floats,
    per_image,
    uniform,
    white_of,
)

__all__ = ["ColorJitter", "Noise", "PCAColor"]

_LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601, as in Pillow


class Noise(Photometric):
    r"""Add Gaussian noise to every pixel.

    $$x' = \operatorname{clip}_{[0, w]}(x + \sigma w\, \epsilon), \qquad
      \epsilon \sim \mathcal N(0, 1)$$

    To first order in $\sigma^2$ it is a penalty on the network's slopes.

    Args:
        sigma: deviation, as a share of white.
        white: value of a white pixel $w$; 255 of integers and 1 of floats unless it is said.

    Source: Bishop (1995), Training with noise is equivalent to Tikhonov regularization, Neural
    Computation 7(1).
    """

    def __init__(self, sigma: float = 0.1, white: float | None = None, p: float = 1.0) -> None:
        check_probability(p)
        if sigma < 0:
            raise ValueError(f"sigma must be at least 0, got {sigma}; it is a share of white")
        self.sigma, self.white, self.p = sigma, white, p

    def _change(self, images: Images) -> Images:
        white = white_of(images, self.white)
        return in_floats(
            images, lambda x: x.add(torch.randn_like(x), alpha=self.sigma * white).clamp_(0, white)
        )


class ColorJitter(Photometric):
    r"""Change brightness, contrast, saturation and hue, in this order, by factors near 1.

    $$x \leftarrow b\,x, \qquad x \leftarrow \bar y + k (x - \bar y), \qquad
      x \leftarrow y + s (x - y), \qquad x \leftarrow R_h\, x$$

    with $y$ the pixel's luminance and $\bar y$ its mean over the image; the hue turns by the angle
    $h$ in the plane of constant luminance, so that grey stays grey. Grey images have the first two
    only. Every step is clipped to what a pixel can be.

    Args:
        brightness: the factor lies in $1 \pm$ this; likewise `contrast` and `saturation`.
        hue: most of the turn, as a share of the circle of colours.
        white: value of a white pixel; 255 of integers and 1 of floats unless it is said.

    Source: Howard (2013), Some Improvements on Deep Convolutional Neural Network Based Image
    Classification, arXiv:1312.5402.
    """

    def __init__(
        self,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.4,
        hue: float = 0.0,
        white: float | None = None,
        p: float = 1.0,
    ) -> None:
        check_probability(p)
        for name, most in (
            ("brightness", brightness),
            ("contrast", contrast),
            ("saturation", saturation),
            ("hue", hue),
        ):
            if not 0 <= most <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {most}; factors are 1 ± {name}")
        self.brightness, self.contrast, self.saturation = brightness, contrast, saturation
        self.hue, self.white, self.p = hue, white, p

    def _change(self, images: Images) -> Images:
        _check_channels(images, "ColorJitter", (1, 3))
        white = white_of(images, self.white)
        factors = [uniform(images, 1 - m, 1 + m) for m in (self.brightness, self.contrast)]
        colour = uniform(images, 1 - self.saturation, 1 + self.saturation)
        turn = uniform(images, -self.hue, self.hue)

        def jitter(x: Tensor) -> Tensor:
            x = brighten(x, factors[0]).clamp_(0, white)
            x = stretch(x, factors[1]).clamp_(0, white)
            if x.shape[1] == 3:
                x = saturate(x, colour).clamp_(0, white)
                x = turn_hue(x, turn).clamp_(0, white) if self.hue else x
            return x

        return in_floats(images, jitter)


class PCAColor(Photometric):
    r"""Shift all pixels of an image along the principal axes of natural colour.

    $$x'_{i,j} = x_{i,j} + \sum_{k=1}^3 \alpha_k \lambda_k\, p_k, \qquad
      \alpha_k \sim \mathcal N(0, \sigma^2)$$

    with $\lambda_k, p_k$ the eigenvalues and eigenvectors of the covariance of red, green and blue
    for white = 1; one draw for each image.

    Args:
        sigma: deviation of the draws.
        covariance: (3, 3) of the training pixels, as in the paper; by default each batch's own.
        white: value of a white pixel; 255 of integers and 1 of floats unless it is said.

    Source: Krizhevsky, Sutskever & Hinton (2012), ImageNet Classification with Deep Convolutional
    Neural Networks, section 4.1, NIPS 25.
    """

    def __init__(
        self,
        sigma: float = 0.1,
        covariance: Sequence[Sequence[float]] | None = None,
        white: float | None = None,
        p: float = 1.0,
    ) -> None:
        check_probability(p)
        self.sigma, self.covariance, self.white, self.p = sigma, covariance, white, p

    def _change(self, images: Images) -> Images:
        _check_channels(images, "PCAColor", (3,))
        white = white_of(images, self.white)

        def shift(x: Tensor) -> Tensor:
            if self.covariance is None:
                covariance = torch.cov(x.movedim(1, 0).flatten(1) / white, correction=0)
            else:
                covariance = x.new_tensor(self.covariance)
            variances, axes = torch.linalg.eigh(covariance)
            drawn = self.sigma * torch.randn(len(x), 3, dtype=x.dtype, device=x.device)
            moved = (drawn * variances) @ axes.T
            return (x + white * moved[:, :, None, None]).clamp_(0, white)

        return in_floats(images, shift)


def brighten(x: Float[Tensor, "n c h w"], factor: Tensor) -> Float[Tensor, "n c h w"]:
    """Towards black, or away from it."""
    return x * per_image(factor)


def stretch(x: Float[Tensor, "n c h w"], factor: Tensor) -> Float[Tensor, "n c h w"]:
    """Towards the image's mean luminance, or away from it."""
    mean = _luminance(x).mean((2, 3), keepdim=True)
    return mean + per_image(factor) * (x - mean)


def saturate(x: Float[Tensor, "n 3 h w"], factor: Tensor) -> Float[Tensor, "n 3 h w"]:
    """Towards each pixel's grey, or away from it."""
    grey = _luminance(x)
    return grey + per_image(factor) * (x - grey)


def turn_hue(x: Float[Tensor, "n 3 h w"], share: Tensor) -> Float[Tensor, "n 3 h w"]:
    """Turn the colours by this share of the circle, each pixel's luminance kept."""
    # Y, I, Q of the NTSC; the plane of I and Q is that of constant luminance.
    forth = x.new_tensor(
        [_LUMINANCE, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135)]
    )
    angle = (2 * math.pi * share).to(x.dtype)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    turn = torch.stack((zero + 1, zero, zero, zero, cos, -sin, zero, sin, cos), 1).unflatten(
        1, (3, 3)
    )
    matrices = torch.linalg.inv(forth) @ turn @ forth
    return torch.einsum("nij,njhw->nihw", matrices, x)


def _luminance(x: Tensor) -> Tensor:
    if x.shape[1] == 1:
        return x
    return torch.einsum("c,nchw->nhw", x.new_tensor(_LUMINANCE), x)[:, None]


def _check_channels(images: Images, name: str, allowed: tuple[int, ...]) -> None:
    if images.shape[1] not in allowed:
        wanted = " or ".join(map(str, allowed))
        raise ValueError(
            f"{name} needs images of {wanted} channels (grey 1, RGB 3), got {images.shape[1]}"
        )

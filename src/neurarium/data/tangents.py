"""Directions in which a picture moves when it is shifted, turned or enlarged a little."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

__all__ = ["tangents"]

Kind = Literal["x", "y", "rotation", "scale"]


def tangents(
    images: Float[Tensor, "n channels height width"],
    kinds: Sequence[Kind] = ("x", "y", "rotation", "scale"),
    sigma: float = 1.0,
) -> Float[Tensor, "n kinds channels height width"]:
    r"""Tangents of transformed images, where the transformation begins.

    $$v_i(x) = \frac{\partial T_i(x, \alpha)}{\partial \alpha}\Big|_{\alpha = 0}
      = -\,\xi_i \cdot \nabla (G_\sigma * x)$$

    with $\xi_i$ the velocity of each pixel: $(1, 0)$ and $(0, 1)$ for shifts by a pixel to the
    right and down, $(-v, u)$ for a turn by a radian and $(u, v)$ for enlargement by the factor $e$,
    where $(u, v)$ is the pixel's place seen from the centre.

    Args:
        images: scaled as the network meets them, for so are the tangents.
        kinds: which transformations, in this order.
        sigma: width in pixels of the Gaussian $G$ that smooths first; pixels have no derivative.

    Source: Simard, Victorri, LeCun & Denker (1992), Tangent Prop, NIPS 4.
    """
    unknown = [kind for kind in kinds if kind not in get_args(Kind)]
    if unknown or not kinds:
        raise ValueError(f"kinds must be some of {', '.join(get_args(Kind))}, got {list(kinds)}")
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, got {sigma}; it is a width in pixels")
    dx, dy = _gradient(images, sigma)
    u = _places(images.shape[-1], images)
    v = _places(images.shape[-2], images)[:, None]
    made = {
        "x": lambda: -dx,
        "y": lambda: -dy,
        "rotation": lambda: v * dx - u * dy,
        "scale": lambda: -u * dx - v * dy,
    }
    return torch.stack([made[kind]() for kind in kinds], dim=1)


def _places(size: int, like: Tensor) -> Tensor:
    return torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2


def _gradient(images: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Derivatives of the smoothed images to the right and down; edges go on beyond the frame."""
    reach = math.ceil(4 * sigma)
    t = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    smooth = torch.exp(-t.square() / (2 * sigma**2))
    smooth = smooth / smooth.sum()
    slope = t * smooth
    slope = slope / (slope @ t)  # exact on a ramp, however narrow the kernel

    flat = images.flatten(0, 1).unsqueeze(1)
    padded = F.pad(flat, [reach] * 4, mode="replicate")

    def along(rows: Tensor, columns: Tensor) -> Tensor:
        filtered = F.conv2d(padded, columns.view(1, 1, 1, -1))
        return F.conv2d(filtered, rows.view(1, 1, -1, 1)).reshape(images.shape)

    return along(smooth, slope), along(slope, smooth)

"""Turns, zooms, slants and bends: pixels between the old ones, by interpolation."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from neurarium.data.augment.base import (
    Geometric,
    Images,
    Points,
    Range,
    as_range,
    chance,
    check_probability,
    in_floats,
    per_image,
    uniform,
)

__all__ = ["Affine", "Elastic", "Rotate", "Scale", "Shear"]

Interpolation = Literal["bilinear", "nearest", "bicubic"]
_INTERPOLATIONS = ("bilinear", "nearest", "bicubic")


class _AffineMap(Geometric):
    """q = A (p - c) + c + t about the image's centre c; the one body of all affine moves.

    Args:
        interpolation: "bilinear", "nearest" or "bicubic".
        fill: value of pixels that come from outside the image.
        p: share of the images that are moved; the others keep their very bytes.
    """

    def __init__(self, interpolation: Interpolation, fill: float, p: float) -> None:
        if interpolation not in _INTERPOLATIONS:
            raise ValueError(
                f"interpolation must be one of {', '.join(_INTERPOLATIONS)}, got {interpolation!r}"
            )
        check_probability(p)
        self.interpolation, self.fill, self.p = interpolation, fill, p

    @abstractmethod
    def _matrices(self, images: Images) -> Float[Tensor, "n 2 3"]:
        """(A | t) of each image, in pixels, x before y."""

    def _draw(self, images: Images) -> Float[Tensor, "n 2 3"]:
        drawn = self._matrices(images)
        if self.p < 1:
            moved = chance(images, self.p)[:, None, None]
            drawn = torch.where(moved, drawn, torch.eye(2, 3, device=images.device))
        return drawn

    def _move(self, images: Images, drawn: Any, mask: bool = False) -> Images:
        if mask:
            return warp(images, drawn, "nearest")
        return warp(images, drawn, self.interpolation, self.fill)

    def _move_points(self, points: Points, drawn: Any, images: Images) -> Points:
        height, width = images.shape[-2:]
        center = points.new_tensor([width / 2, height / 2])
        drawn = drawn.to(points.dtype)
        moved = (points - center) @ drawn[:, :, :2].mT + drawn[:, None, :, 2]
        return moved + center


def warp(
    images: Images,
    matrices: Float[Tensor, "n 2 3"],
    interpolation: Interpolation = "bilinear",
    fill: float = 0.0,
) -> Images:
    """Each image under its map p -> A (p - c) + c + t, zeros or `fill` coming in."""
    height, width = images.shape[-2:]
    half = matrices.new_tensor([width / 2, height / 2])  # of the image, in pixels
    # affine_grid asks where each new pixel comes from, in units of half the image.
    back = torch.linalg.inv(matrices[:, :, :2])
    origin = -back @ matrices[:, :, 2:]
    theta = torch.cat((back * half, origin), 2) / half[:, None]
    size = list(images.shape)

    def sample(x: Tensor) -> Tensor:
        grid = F.affine_grid(theta.to(x.dtype), size, align_corners=False)
        x = x - fill if fill else x
        y = F.grid_sample(x, grid, mode=interpolation, align_corners=False)
        return y + fill if fill else y

    moved = in_floats(images, sample)
    # Interpolation at the old places errs in the last digit; a still image is to stay as it is.
    still = (matrices == torch.eye(2, 3, device=images.device)).all((1, 2))
    return torch.where(per_image(still), images, moved)


def _rotation(degrees: Tensor) -> Float[Tensor, "n 2 2"]:
    """Counter-clockwise as one sees it: y points down in images."""
    angle = torch.deg2rad(degrees)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack((cos, sin, -sin, cos), 1).unflatten(1, (2, 2))


def _slant(degrees: Tensor) -> Float[Tensor, "n 2 2"]:
    one, zero = torch.ones_like(degrees), torch.zeros_like(degrees)
    tangent = torch.deg2rad(degrees).tan()
    return torch.stack((one, -tangent, zero, one), 1).unflatten(1, (2, 2))


def _zoom(factor: Tensor) -> Float[Tensor, "n 2 2"]:
    return factor[:, None, None] * torch.eye(2, device=factor.device)


def _about_center(linear: Float[Tensor, "n 2 2"]) -> Float[Tensor, "n 2 3"]:
    return F.pad(linear, (0, 1))


class Rotate(_AffineMap):
    r"""Turn the image about its centre.

    $$x'(q) = x\bigl(R_\varphi^{-1}(q - c) + c\bigr), \qquad
      R_\varphi = \begin{pmatrix}\cos\varphi & \sin\varphi\\ -\sin\varphi & \cos\varphi
      \end{pmatrix}, \qquad \varphi \sim \mathcal U[-\varphi_0, \varphi_0]$$

    Args:
        degrees: the most, or a pair (low, high); positive is counter-clockwise.

    Source: Simard, Steinkraus & Platt (2003), Best practices for convolutional neural networks
    applied to visual document analysis, ICDAR.
    """

    def __init__(
        self,
        degrees: Range = 15.0,
        interpolation: Interpolation = "bilinear",
        fill: float = 0.0,
        p: float = 1.0,
    ) -> None:
        super().__init__(interpolation, fill, p)
        self.degrees = degrees
        as_range(degrees, "degrees")

    def _matrices(self, images: Images) -> Float[Tensor, "n 2 3"]:
        return _about_center(_rotation(uniform(images, *as_range(self.degrees, "degrees"))))


class Scale(_AffineMap):
    r"""Zoom in or out about the centre.

    $$x'(q) = x\bigl((q - c)/s + c\bigr), \qquad s \sim \mathcal U[s_0, s_1]$$

    Args:
        low: smallest factor; below 1 the image shrinks.
        high: largest factor.

    Source: Simard, Steinkraus & Platt (2003), Best practices for convolutional neural networks
    applied to visual document analysis, ICDAR.
    """

    def __init__(
        self,
        low: float = 0.9,
        high: float = 1.1,
        interpolation: Interpolation = "bilinear",
        fill: float = 0.0,
        p: float = 1.0,
    ) -> None:
        super().__init__(interpolation, fill, p)
        _check_factors(low, high)
        self.low, self.high = low, high

    def _matrices(self, images: Images) -> Float[Tensor, "n 2 3"]:
        return _about_center(_zoom(uniform(images, self.low, self.high)))


class Shear(_AffineMap):
    r"""Slant the image, as handwriting is slanted.

    $$x'(q) = x\bigl(S^{-1}(q - c) + c\bigr), \qquad
      S = \begin{pmatrix}1 & -\tan\varphi\\ 0 & 1\end{pmatrix}, \qquad
      \varphi \sim \mathcal U[-\varphi_0, \varphi_0]$$

    Args:
        degrees: the most, or a pair (low, high); positive leans to the right.

    Source: Simard, Steinkraus & Platt (2003), Best practices for convolutional neural networks
    applied to visual document analysis, ICDAR.
    """

    def __init__(
        self,
        degrees: Range = 10.0,
        interpolation: Interpolation = "bilinear",
        fill: float = 0.0,
        p: float = 1.0,
    ) -> None:
        super().__init__(interpolation, fill, p)
        self.degrees = degrees
        _check_slant(degrees)

    def _matrices(self, images: Images) -> Float[Tensor, "n 2 3"]:
        return _about_center(_slant(uniform(images, *as_range(self.degrees, "degrees"))))


class Affine(_AffineMap):
    r"""Turn, slant, zoom and shift at once, with one interpolation.

    $$x'(q) = x\bigl(A^{-1}(q - c - t) + c\bigr), \qquad A = s\, R_\varphi\, S_\psi$$

    Args:
        degrees: most of the turn, or (low, high).
        translate: most of the shift in each direction, as a share of the image's size.
        scale: range of the zoom.
        shear: most of the slant in degrees, or (low, high).

    Source: Simard, Steinkraus & Platt (2003), Best practices for convolutional neural networks
    applied to visual document analysis, ICDAR.
    """

    def __init__(
        self,
        degrees: Range = 10.0,
        translate: float = 0.1,
        scale: Sequence[float] = (0.9, 1.1),
        shear: Range = 0.0,
        interpolation: Interpolation = "bilinear",
        fill: float = 0.0,
        p: float = 1.0,
    ) -> None:
        super().__init__(interpolation, fill, p)
        self.degrees, self.translate, self.scale, self.shear = degrees, translate, scale, shear
        as_range(degrees, "degrees")
        _check_slant(shear)
        _check_factors(*scale)
        if not 0 <= translate < 1:
            raise ValueError(
                f"translate must lie in [0, 1), got {translate}; it is the share of the image's "
                "size by which it may shift"
            )

    def _matrices(self, images: Images) -> Float[Tensor, "n 2 3"]:
        turn = _rotation(uniform(images, *as_range(self.degrees, "degrees")))
        slant = _slant(uniform(images, *as_range(self.shear, "shear")))
        zoom = _zoom(uniform(images, *self.scale))
        most = images.shape[3] * self.translate, images.shape[2] * self.translate
        shift = torch.stack([uniform(images, -m, m) for m in most], 1)
        return torch.cat((zoom @ turn @ slant, shift[..., None]), 2)


class Elastic(Geometric):
    r"""Bend the image by a smooth random field, as hands vary.

    $$x'(q) = x\bigl(q + \alpha\, (G_\sigma * u)(q)\bigr), \qquad u(q) \sim \mathcal U[-1, 1]^2$$

    Args:
        alpha: strength; the paper's 34 goes with its sigma and images of 29 x 29.
        sigma: smoothness in pixels; a small one tears the image apart, a large one shifts it.

    Source: Simard, Steinkraus & Platt (2003), Best practices for convolutional neural networks
    applied to visual document analysis, ICDAR.
    """

    def __init__(
        self,
        alpha: float = 34.0,
        sigma: float = 4.0,
        interpolation: Interpolation = "bilinear",
        p: float = 1.0,
    ) -> None:
        check_probability(p)
        if not sigma > 0:
            raise ValueError(f"sigma must be positive, got {sigma}; it is a width in pixels")
        self.alpha, self.sigma, self.interpolation, self.p = alpha, sigma, interpolation, p

    def _draw(self, images: Images) -> Float[Tensor, "n 2 height width"]:
        n, _, height, width = images.shape
        field = torch.rand(n, 2, height, width, device=images.device).mul_(2).sub_(1)
        field = self.alpha * _smooth(field, self.sigma)
        return field if self.p == 1 else field * per_image(chance(images, self.p))

    def _move(self, images: Images, drawn: Any, mask: bool = False) -> Images:
        return bend(images, drawn, "nearest" if mask else self.interpolation)

    def _move_points(self, points: Points, drawn: Any, images: Images) -> Points:
        raise ValueError(
            "Elastic cannot move boxes, whose corners do not bound what bends between them; "
            "give masks, or take Affine"
        )


def bend(
    images: Images,
    field: Float[Tensor, "n 2 height width"],
    interpolation: Interpolation = "bilinear",
) -> Images:
    """Each pixel taken from `field` (x, y) pixels beside its place; the border goes on outside."""
    height, width = images.shape[-2:]
    half = field.new_tensor([width / 2, height / 2])
    still = torch.eye(2, 3, device=field.device).expand(len(images), 2, 3)

    def sample(x: Tensor) -> Tensor:
        grid = F.affine_grid(still.to(x.dtype), list(images.shape), align_corners=False)
        grid = grid + (field.movedim(1, -1) / half).to(x.dtype)
        return F.grid_sample(
            x, grid, mode=interpolation, padding_mode="border", align_corners=False
        )

    bent = in_floats(images, sample)
    return torch.where(per_image((field == 0).all((1, 2, 3))), images, bent)


def _smooth(field: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, one axis after the other; nothing beyond the edge."""
    reach = math.ceil(3 * sigma)
    steps = torch.arange(-reach, reach + 1, device=field.device)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(field.shape[1], 1, 1, -1)
    channels = field.shape[1]
    field = F.conv2d(field, kernel, padding=(0, reach), groups=channels)
    return F.conv2d(field, kernel.mT, padding=(reach, 0), groups=channels)


def _check_factors(low: float, high: float) -> None:
    if not 0 < low <= high:
        raise ValueError(f"a zoom must be positive and low <= high, got ({low}, {high})")


def _check_slant(degrees: Range) -> None:
    if max(map(abs, as_range(degrees, "shear"))) >= 90:
        raise ValueError(f"a shear must stay below 90 degrees, got {degrees}")

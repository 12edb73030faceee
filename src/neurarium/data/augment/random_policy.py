"""A few moves drawn from a fixed list for each image, all of one strength."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from neurarium.data.augment.affine import _about_center, _AffineMap, _rotation
from neurarium.data.augment.base import Images, Transform, in_floats, per_image, white_of
from neurarium.data.augment.colour import brighten, saturate, stretch

__all__ = ["RandAugment"]

Matrices = Float[Tensor, "n 2 3"]
Pixels = Float[Tensor, "n channels height width"]


class RandAugment(Transform):
    r"""Apply `n` moves drawn anew for each image from fourteen, all with one `strength`.

    $$x' = (t_{k_n} \circ \dots \circ t_{k_1})(x), \qquad
      k_i \sim \mathcal U\{1, \dots, 14\}, \qquad t_k \text{ of strength } M$$

    Two numbers stand for a policy that would otherwise be searched for. The moves are
    AutoAugment's: none, autocontrast, equalize, rotate, solarize, colour, posterize, contrast,
    brightness, sharpness, and shear and shift along each axis, with either sign where there is one.
    Boxes and masks move along.

    Args:
        n: number of moves; 0 leaves the images as they are.
        strength: M from 0 to 10, where 10 is AutoAugment's strongest: 30 degrees, a slant of 0.3, a
            shift of 0.45 of the side, factors of 1 ± 0.9, 4 bits, all pixels inverted.
        fill: value of pixels that come from outside the image.
        white: value of a white pixel; 255 of integers and 1 of floats unless it is said.

    Source: Cubuk, Zoph, Shlens & Le (2020), RandAugment: Practical automated data augmentation
    with a reduced search space, arXiv:1909.13719; the moves: Cubuk et al. (2019), AutoAugment,
    arXiv:1805.09501.
    """

    def __init__(
        self, n: int = 2, strength: float = 5.0, fill: float = 0.0, white: float | None = None
    ) -> None:
        if n < 0:
            raise ValueError(f"n must be at least 0, got {n}; it is the number of moves")
        if not 0 <= strength <= 10:
            raise ValueError(f"strength must lie in [0, 10], got {strength}")
        self.n, self.strength, self.fill, self.white = n, strength, fill, white

    def _transform(self, batch: dict[str, Any]) -> dict[str, Any]:
        for _ in range(self.n):
            images = batch["input"]
            kinds = torch.randint(len(_MOVES) + len(_CHANGES) + 1, (len(images),))
            signs = (torch.randint(2, (len(images),)) * 2 - 1).to(images.device)
            batch = self._apply(batch, kinds.to(images.device), signs * self.strength / 10)
        return batch

    def _apply(self, batch: dict[str, Any], kinds: Tensor, strengths: Tensor) -> dict[str, Any]:
        """The move number `kinds` for each image; strengths in [-1, 1]."""
        images = batch["input"]
        matrices = torch.eye(2, 3, device=images.device).repeat(len(images), 1, 1)
        for kind, matrix_of in enumerate(_MOVES.values()):
            chosen = kinds == kind
            matrices[chosen] = matrix_of(strengths[chosen], images.shape[-2], images.shape[-1])
        if (kinds < len(_MOVES)).any():
            batch = _Moved(matrices, self.fill)._transform(batch)
        white = white_of(images, self.white)
        changed = batch["input"].clone()
        for kind, change in enumerate(_CHANGES.values(), len(_MOVES)):
            chosen = kinds == kind
            if chosen.any():
                changed[chosen] = _on_255(changed[chosen], white, change, strengths[chosen])
        batch["input"] = changed
        return batch


class _Moved(_AffineMap):
    """Moves images by maps that are already drawn."""

    def __init__(self, matrices: Matrices, fill: float) -> None:
        super().__init__("bilinear", fill, 1.0)
        self.matrices = matrices

    def _matrices(self, images: Images) -> Matrices:
        return self.matrices


def _rotate(strength: Tensor, height: int, width: int) -> Matrices:
    return _about_center(_rotation(30 * strength))


def _sheared(row: int, column: int) -> Callable[[Tensor, int, int], Matrices]:
    def matrices(strength: Tensor, height: int, width: int) -> Matrices:
        found = torch.eye(2, 3, device=strength.device).repeat(len(strength), 1, 1)
        found[:, row, column] = 0.3 * strength
        return found

    return matrices


def _shifted(axis: int) -> Callable[[Tensor, int, int], Matrices]:
    def matrices(strength: Tensor, height: int, width: int) -> Matrices:
        found = torch.eye(2, 3, device=strength.device).repeat(len(strength), 1, 1)
        found[:, axis, 2] = 0.45 * strength * (width, height)[axis]
        return found

    return matrices


_MOVES: dict[str, Callable[[Tensor, int, int], Matrices]] = {
    "rotate": _rotate,
    "shear x": _sheared(0, 1),
    "shear y": _sheared(1, 0),
    "shift x": _shifted(0),
    "shift y": _shifted(1),
}


def _autocontrast(x: Pixels, strength: Tensor) -> Pixels:
    """Each channel's range stretched to all of it."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return torch.where(high > low, (x - low) * 255 / (high - low).clamp(min=1e-6), x)


def _equalize(x: Pixels, strength: Tensor) -> Pixels:
    """Each channel's 256 values spread so that they are equally frequent, as Pillow does it."""
    values = x.round().long().flatten(2)
    counts = torch.zeros(*values.shape[:2], 256, dtype=torch.int64, device=x.device)
    counts.scatter_add_(2, values, torch.ones_like(values))
    brightest = counts.gather(2, values.amax(2, keepdim=True))
    step = (values.shape[2] - brightest) // 255
    before = counts.cumsum(2) - counts
    table = ((before + step // 2) // step.clamp(min=1)).clamp(max=255)
    spread = table.gather(2, values).view_as(x).to(x.dtype)
    return torch.where(step[..., None] > 0, spread, x)


def _solarize(x: Pixels, strength: Tensor) -> Pixels:
    """Pixels from a threshold on inverted."""
    return torch.where(x >= per_image(256 - 256 * strength.abs()), 255 - x, x)


def _posterize(x: Pixels, strength: Tensor) -> Pixels:
    """Only the first bits of each value kept, down to 4."""
    step = per_image(2 ** (4 * strength.abs()).floor())
    return (x.round() / step).floor() * step


def _sharpen(x: Pixels, strength: Tensor) -> Pixels:
    """Away from the image smoothed, or towards it; the border stays."""
    if min(x.shape[2:]) < 3:
        return x  # all border
    kernel = torch.ones(3, 3, dtype=x.dtype, device=x.device)
    kernel[1, 1] = 5
    weight = (kernel / 13).expand(x.shape[1], 1, 3, 3)
    smooth = x.clone()
    smooth[..., 1:-1, 1:-1] = F.conv2d(x, weight, groups=x.shape[1])
    return smooth + per_image(1 + 0.9 * strength) * (x - smooth)


def _colour(x: Pixels, strength: Tensor) -> Pixels:
    return saturate(x, 1 + 0.9 * strength) if x.shape[1] == 3 else x


_CHANGES: dict[str, Callable[[Pixels, Tensor], Pixels]] = {
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "solarize": _solarize,
    "posterize": _posterize,
    "colour": _colour,
    "contrast": lambda x, strength: stretch(x, 1 + 0.9 * strength),
    "brightness": lambda x, strength: brighten(x, 1 + 0.9 * strength),
    "sharpness": _sharpen,
}


def _on_255(
    images: Images, white: float, change: Callable[[Pixels, Tensor], Pixels], strengths: Tensor
) -> Images:
    """`change` of pixels from 0 to 255, which is what the moves are written for."""

    def scaled(x: Tensor) -> Tensor:
        return change(x * (255 / white), strengths.to(x.dtype)).clamp(0, 255) * (white / 255)

    return in_floats(images, scaled)

"""Whole-pixel moves, exact: flips, shifts and crops."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from neurarium.data.augment.base import (
    Geometric,
    Images,
    Points,
    Resized,
    chance,
    check_probability,
    per_image,
)

__all__ = ["Crop", "Flip", "Shift"]

Border = Literal["zeros", "border", "reflection"]
_BORDERS = ("zeros", "border", "reflection")


class Flip(Geometric):
    r"""Mirror an image with probability p.

    $$x'_{c,i,j} = x_{c,i,W-1-j} \quad\text{with probability } p$$

    Digits and letters are not the same mirrored: leave it out there.

    Args:
        axis: "horizontal" swaps left and right, "vertical" top and bottom.

    Source: Krizhevsky, Sutskever & Hinton (2012), ImageNet Classification with Deep Convolutional
    Neural Networks, section 4.1, NIPS 25.
    """

    def __init__(
        self, p: float = 0.5, axis: Literal["horizontal", "vertical"] = "horizontal"
    ) -> None:
        check_probability(p)
        if axis not in ("horizontal", "vertical"):
            raise ValueError(f"axis must be 'horizontal' or 'vertical', got {axis!r}")
        self.p, self.axis = p, axis

    def _draw(self, images: Images) -> Tensor:
        return chance(images, self.p)

    def _move(self, images: Images, drawn: Any, mask: bool = False) -> Resized:
        mirrored = images.flip(-1 if self.axis == "horizontal" else -2)
        return torch.where(per_image(drawn), mirrored, images)

    def _move_points(self, points: Points, drawn: Any, images: Images) -> Points:
        height, width = images.shape[-2:]
        x, y = points.unbind(-1)
        if self.axis == "horizontal":
            x = torch.where(drawn[:, None], width - x, x)
        else:
            y = torch.where(drawn[:, None], height - y, y)
        return torch.stack((x, y), -1)


class Crop(Geometric):
    r"""Pad the image, then cut a window out at a random place.

    $$x'_{c,i,j} = \operatorname{pad}_P(x)_{c,\,i+u,\,j+v}, \qquad
      u, v \sim \mathcal U\{0, \dots, S + 2P - S'\}$$

    with $S$ the image's size and $S'$ the window's.

    Args:
        padding: pixels added on each side; 4 is usual for 32 x 32.
        size: of the window, one number or (height, width); by default that of the image. It must
            be the network's input size in judging, too.
        border: what lies beyond the edge: "zeros", the "border" pixels or the "reflection".
        p: share of the images that are moved; the others are cut from the middle.

    Source: Krizhevsky, Sutskever & Hinton (2012), ImageNet Classification with Deep Convolutional
    Neural Networks, section 4.1, NIPS 25; padded by 4: Lee et al. (2015), Deeply-Supervised Nets,
    arXiv:1409.5185.
    """

    def __init__(
        self,
        padding: int = 4,
        size: int | Sequence[int] | None = None,
        border: Border = "zeros",
        p: float = 1.0,
    ) -> None:
        _check_border(border)
        check_probability(p)
        if padding < 0:
            raise ValueError(f"padding must be at least 0 pixels, got {padding}")
        self.padding, self.size, self.border, self.p = padding, size, border, p

    def _draw(self, images: Images) -> Tensor:
        height, width = (n + 2 * self.padding for n in images.shape[2:])
        window = self._window(images)
        room = height - window[0], width - window[1]
        if min(room) < 0:
            raise ValueError(
                f"Crop's size {self.size} does not fit into images of {tuple(images.shape[2:])} "
                f"padded by {self.padding}; take a smaller size or more padding"
            )
        return _corners(images, [(0, most) for most in room], [most // 2 for most in room], self.p)

    def _window(self, images: Images) -> tuple[int, int]:
        if self.size is None:
            return images.shape[2], images.shape[3]
        height, width = (self.size, self.size) if isinstance(self.size, int) else self.size
        return height, width

    def _move(self, images: Images, drawn: Any, mask: bool = False) -> Resized:
        border = "zeros" if mask else self.border
        padded = _pad(images, self.padding, self.padding, border)
        return _windows(padded, drawn, self._window(images))

    def _move_points(self, points: Points, drawn: Any, images: Images) -> Points:
        return points + self.padding - drawn[:, None].flip(-1)


class Shift(Geometric):
    r"""Move the image by whole pixels, at most so many in each direction.

    $$x'_{c,i,j} = x_{c,\,i-u,\,j-v}, \qquad u, v \sim \mathcal U\{-P, \dots, P\}$$

    Nothing is blended, so the pixels that remain are the very same.

    Args:
        pixels: most of the shift, one number or (vertical, horizontal).
        border: what comes in: "zeros", the "border" pixels or the "reflection".

    Source: Simard, Steinkraus & Platt (2003), Best practices for convolutional neural networks
    applied to visual document analysis, ICDAR.
    """

    def __init__(
        self, pixels: int | Sequence[int] = 2, border: Border = "zeros", p: float = 1.0
    ) -> None:
        _check_border(border)
        check_probability(p)
        self.pixels, self.border, self.p = pixels, border, p
        if min(self._most()) < 0:
            raise ValueError(f"pixels must be at least 0, got {pixels}")

    def _most(self) -> tuple[int, int]:
        down, across = (self.pixels,) * 2 if isinstance(self.pixels, int) else self.pixels
        return down, across

    def _draw(self, images: Images) -> Tensor:
        most = self._most()
        if most[0] >= images.shape[2] or most[1] >= images.shape[3]:
            raise ValueError(
                f"Shift(pixels={self.pixels}) can move images of {tuple(images.shape[2:])} pixels "
                "wholly out of sight; take fewer pixels than the image has"
            )
        return _corners(images, [(0, 2 * m) for m in most], most, self.p)

    def _move(self, images: Images, drawn: Any, mask: bool = False) -> Resized:
        border = "zeros" if mask else self.border
        padded = _pad(images, *self._most(), border)
        return _windows(padded, drawn, (images.shape[2], images.shape[3]))

    def _move_points(self, points: Points, drawn: Any, images: Images) -> Points:
        down, across = self._most()
        return points + points.new_tensor([across, down]) - drawn[:, None].flip(-1)


def _corners(
    images: Images, ranges: Sequence[tuple[int, int]], rest: Sequence[int], p: float
) -> Tensor:
    """The window's upper left corner (row, column) in each image; `rest` where none is drawn."""
    size, device = (len(images),), images.device
    drawn = torch.stack([torch.randint(a, b + 1, size, device=device) for a, b in ranges], 1)
    if p == 1:
        return drawn
    return torch.where(chance(images, p)[:, None], drawn, drawn.new_tensor(rest))


def _windows(padded: Images, corners: Tensor, size: tuple[int, int]) -> Resized:
    # All windows as a view, of which one per image is copied: as fast as indexing a flattened
    # image, and 5 times as fast as broadcast row and column numbers.
    views = padded.unfold(2, size[0], 1).unfold(3, size[1], 1)
    rows = torch.arange(len(padded), device=padded.device)
    return views[rows, :, corners[:, 0], corners[:, 1]]


def _pad(images: Images, down: int, across: int, border: Border) -> Resized:
    if border == "zeros":
        return F.pad(images, (across, across, down, down))
    # By index, because torch's own reflection knows no integers.
    for axis, most in ((2, down), (3, across)):
        length = images.shape[axis]
        if border == "reflection" and most >= length:
            raise ValueError(
                f"a reflection of {most} pixels needs an image of more than that, got {length}; "
                "take border='border' or 'zeros'"
            )
        index = torch.arange(-most, length + most, device=images.device)
        if border == "reflection":
            index = (length - 1) - ((length - 1) - index.abs()).abs()
        images = images.index_select(axis, index.clamp(0, length - 1))
    return images


def _check_border(border: str) -> None:
    if border not in _BORDERS:
        raise ValueError(f"border must be one of {', '.join(_BORDERS)}, got {border!r}")

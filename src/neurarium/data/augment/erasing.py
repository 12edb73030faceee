"""Holes in images: what is left must do."""

from collections.abc import Sequence

import torch
from torch import Tensor

from neurarium.data.augment.base import Images, Photometric, check_probability, uniform

__all__ = ["Cutout", "Erase"]


class Cutout(Photometric):
    r"""Blank a square somewhere in the image.

    $$x'_{c,i,j} = \begin{cases} v & -\lfloor s/2 \rfloor \le i - u,\; j - w < \lceil s/2 \rceil \\
      x_{c,i,j} & \text{else}\end{cases}, \qquad u \sim \mathcal U\{0, \dots, H - 1\},\;
      w \sim \mathcal U\{0, \dots, W - 1\}$$

    The centre may be any pixel, so the square may stick out of the image and blank less: the paper
    found that to matter.

    Args:
        size: side $s$ in pixels; the paper's 16 for CIFAR-10 and 8 for CIFAR-100.
        fill: value $v$ of the blank; the paper's 0 is the mean of standardized images.

    Source: DeVries & Taylor (2017), Improved Regularization of Convolutional Neural Networks with
    Cutout, arXiv:1708.04552.
    """

    def __init__(self, size: int = 8, fill: float = 0.0, p: float = 1.0) -> None:
        check_probability(p)
        if size < 1:
            raise ValueError(f"size must be at least 1 pixel, got {size}")
        self.size, self.fill, self.p = size, fill, p

    def _change(self, images: Images) -> Images:
        n, _, height, width = images.shape
        center = [torch.randint(k, (n,), device=images.device) for k in (height, width)]
        top, left = (c - self.size // 2 for c in center)
        hole = inside(images, top, left, top + self.size, left + self.size)
        return images.masked_fill(hole, self.fill)


class Erase(Photometric):
    r"""Random erasing: a rectangle of random size, shape and place, filled with noise.

    $$\frac{hw}{HW} \sim \mathcal U[a_0, a_1], \qquad \frac hw \sim \mathcal U[r_0, r_1]$$

    Args:
        area: range of the rectangle's share of the image.
        ratio: range of height over width. A side longer than the image is cut to it.
        fill: value of the blank; None is uniform noise over the batch's range of values, the
            paper's choice.
        p: share of the images; the paper's 0.5.

    Source: Zhong et al. (2017), Random Erasing Data Augmentation, arXiv:1708.04896.
    """

    def __init__(
        self,
        area: Sequence[float] = (0.02, 0.4),
        ratio: Sequence[float] = (0.3, 3.3),
        fill: float | None = None,
        p: float = 0.5,
    ) -> None:
        check_probability(p)
        if not 0 <= area[0] <= area[1] <= 1:
            raise ValueError(f"area must be two shares of the image, low <= high, got {area}")
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"ratio must be two positive numbers, low <= high, got {ratio}")
        self.area, self.ratio, self.fill, self.p = area, ratio, fill, p

    def _change(self, images: Images) -> Images:
        _, _, height, width = images.shape
        pixels = height * width * uniform(images, *self.area)
        ratio = uniform(images, *self.ratio)
        tall = (pixels * ratio).sqrt().round().clamp(1, height)
        wide = (pixels / ratio).sqrt().round().clamp(1, width)
        top = (uniform(images, 0, 1) * (height - tall + 1)).floor()
        left = (uniform(images, 0, 1) * (width - wide + 1)).floor()
        hole = inside(images, top, left, top + tall, left + wide)
        if self.fill is not None:
            return images.masked_fill(hole, self.fill)
        low, high = (value.float() for value in images.aminmax())
        noise = torch.rand(images.shape, device=images.device).mul_(high - low).add_(low)
        noise = noise if images.is_floating_point() else noise.round_()
        return torch.where(hole, noise.to(images.dtype), images)


def inside(images: Images, top: Tensor, left: Tensor, bottom: Tensor, right: Tensor) -> Tensor:
    """(n, 1, height, width), true in each image's rectangle, its lower and right edges outside."""
    rows = torch.arange(images.shape[2], device=images.device)
    columns = torch.arange(images.shape[3], device=images.device)
    vertical = (rows >= top[:, None]) & (rows < bottom[:, None])
    horizontal = (columns >= left[:, None]) & (columns < right[:, None])
    return (vertical[:, :, None] & horizontal[:, None, :])[:, None]

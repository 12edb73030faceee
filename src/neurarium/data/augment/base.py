"""What every augmentation shares: whole batches of images, each image by a draw of its own."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import torch
from jaxtyping import Float, Num
from torch import Tensor

Images = Num[Tensor, "n channels height width"]
Resized = Num[Tensor, "n channels new_height new_width"]
Points = Float[Tensor, "n points 2"]
Range = float | Sequence[float]


class Transform(ABC):
    """A random map of batches: a mapping with the images as `input`, or the images alone.

    The draws come from torch's global generator, so a seeded run repeats them and a resumed run
    goes on with them. Nothing is changed in place.
    """

    @overload
    def __call__(self, batch: Tensor) -> Tensor: ...
    @overload
    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]: ...
    def __call__(self, batch: Tensor | Mapping[str, Any]) -> Tensor | dict[str, Any]:
        if isinstance(batch, Tensor):
            return self({"input": batch})["input"]
        _check_images(batch["input"], type(self).__name__)
        return self._transform(dict(batch))

    @abstractmethod
    def _transform(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch, a copy that may be changed, augmented."""

    def __repr__(self) -> str:
        names = inspect.signature(type(self).__init__).parameters
        given = ", ".join(f"{n}={getattr(self, n)!r}" for n in names if n != "self")
        return f"{type(self).__name__}({given})"


class Photometric(Transform):
    """Changes what the pixels are, not where: boxes and masks stay."""

    p: float

    def _transform(self, batch: dict[str, Any]) -> dict[str, Any]:
        images = batch["input"]
        changed = self._change(images)
        if self.p < 1:
            changed = torch.where(per_image(chance(images, self.p)), changed, images)
        batch["input"] = changed
        return batch

    @abstractmethod
    def _change(self, images: Images) -> Images: ...


class Geometric(Transform):
    """Moves pixels, and with them `masks` (N, ..., height, width) and `boxes` (N, K, 4).

    Boxes are (left, top, right, bottom) in pixels, pixel i reaching from i to i + 1. A moved box is
    the hull of its moved corners, clipped to the image; one without area is no box, so one that
    leaves the image becomes zeros and the others keep their places.
    """

    def _transform(self, batch: dict[str, Any]) -> dict[str, Any]:
        images = batch["input"]
        drawn = self._draw(images)
        batch["input"] = moved = self._move(images, drawn)
        if "masks" in batch:
            batch["masks"] = self._move_masks(batch["masks"], drawn)
        if "boxes" in batch:
            batch["boxes"] = self._move_boxes(batch["boxes"], drawn, images, moved)
        return batch

    @abstractmethod
    def _draw(self, images: Images) -> Any:
        """This batch's random numbers."""

    @abstractmethod
    def _move(self, images: Images, drawn: Any, mask: bool = False) -> Resized:
        """The images moved as drawn; of masks, which are kinds and not amounts, no blends."""

    @abstractmethod
    def _move_points(self, points: Points, drawn: Any, images: Images) -> Points:
        """Where the points (x, y) of the old images lie in the new ones."""

    def _move_masks(self, masks: Tensor, drawn: Any) -> Tensor:
        flat = masks.reshape(len(masks), -1, *masks.shape[-2:])
        moved = self._move(flat.to(torch.uint8) if masks.dtype == torch.bool else flat, drawn, True)
        return moved.to(masks.dtype).reshape(*masks.shape[:-2], *moved.shape[-2:])

    def _move_boxes(
        self,
        boxes: Float[Tensor, "n boxes 4"],
        drawn: Any,
        before: Images,
        after: Resized,
    ) -> Float[Tensor, "n boxes 4"]:
        corners = boxes[..., [0, 1, 2, 1, 0, 3, 2, 3]].unflatten(-1, (4, 2))
        moved = self._move_points(corners.flatten(1, 2), drawn, before).unflatten(1, (-1, 4))
        hull = torch.cat((moved.amin(2), moved.amax(2)), -1)
        height, width = after.shape[-2:]
        hull = hull.clamp(min=0).minimum(hull.new_tensor([width, height, width, height]))
        real = has_area(boxes) & has_area(hull)
        return torch.where(real[..., None], hull, 0)


def has_area(boxes: Float[Tensor, "n boxes 4"]) -> Tensor:
    """Which of the boxes are boxes."""
    return (boxes[..., 2:] > boxes[..., :2]).all(-1)


def chance(images: Images, p: float) -> Tensor:
    """True for each image with probability p."""
    return torch.rand(len(images), device=images.device) < p


def uniform(images: Images, low: float, high: float) -> Tensor:
    """One number for each image, between low and high."""
    return torch.rand(len(images), device=images.device).mul_(high - low).add_(low)


def per_image(values: Tensor) -> Tensor:
    """(n,) as (n, 1, 1, 1), to meet images."""
    return values[:, None, None, None]


def in_floats(images: Images, change: Callable[[Tensor], Tensor]) -> Images:
    """`change` computed in float32 or float64 and brought back to the images' own type."""
    if images.is_floating_point():
        wide = images if images.dtype == torch.float64 else images.float()
        return change(wide).to(images.dtype)
    limits = torch.iinfo(images.dtype)
    return change(images.float()).round_().clamp_(limits.min, limits.max).to(images.dtype)


def white_of(images: Images, white: float | None) -> float:
    """The value of a white pixel: 255 of integers and 1 of floats unless it is said."""
    if white is not None:
        return white
    return 1.0 if images.is_floating_point() else 255.0


def check_probability(p: float) -> None:
    """One sentence for a share that is none."""
    if not 0 <= p <= 1:
        raise ValueError(f"p must lie in [0, 1], got {p}; it is the share of images changed")


def as_range(value: Range, name: str) -> tuple[float, float]:
    """(low, high) from a pair, or (-value, value) from a number."""
    low, high = (-value, value) if isinstance(value, int | float) else tuple(value)
    if low > high:
        raise ValueError(f"{name} must be a number or a pair (low, high), got {value}")
    return float(low), float(high)


def _check_images(images: Any, name: str) -> None:
    shape = tuple(getattr(images, "shape", ()))
    if len(shape) != 4:
        raise ValueError(
            f"{name} needs images (N, channels, height, width) as the batch's input, got shape "
            f"{shape}; reshape the rows to images, and let the network flatten them"
        )

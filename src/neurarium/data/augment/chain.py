"""One augmentation after another, also by name."""

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor

from neurarium._names import resolve
from neurarium.data.augment import (
    affine,
    colour,
    erasing,
    mixing,
    random_policy,
    texture,
    windows,
)
from neurarium.data.augment.base import Transform

_MODULES = (windows, affine, colour, erasing, mixing, texture, random_policy)


class Compose(Transform):
    r"""One augmentation after another: what `Data(augment=...)` takes.

    $$x' = (t_k \circ \dots \circ t_1)(x)$$

    Each takes and gives a batch, a mapping with the images as `input`. It is applied to training
    batches only, and drawn anew for every epoch.

    Args:
        transforms: in order; or their names, arguments after a colon: "crop:4", "flip:p=0.3".

    Example:
        >>> Compose(["flip", "crop:4"])
        Compose([Flip(p=0.5, axis='horizontal'), Crop(padding=4, size=None, border='zeros', p=1.0)])

    Source: Perez & Wang (2017), The Effectiveness of Data Augmentation in Image Classification
    using Deep Learning, arXiv:1712.04621.
    """

    def __init__(self, transforms: Sequence[Any]) -> None:
        self.transforms = [_named(one) if isinstance(one, str) else one for one in transforms]

    def __call__(self, batch: Any) -> Any:
        if isinstance(batch, Tensor):
            return self({"input": batch})["input"]
        return self._transform(dict(batch))

    def _transform(self, batch: dict[str, Any]) -> dict[str, Any]:
        for transform in self.transforms:
            batch = transform(batch)
        return batch

    def __repr__(self) -> str:
        return f"Compose({self.transforms!r})"


def compose(specs: Sequence[str], classes: int | None = None) -> Compose:
    """The augmentations of these names, as typed: `["flip", "crop:4", "mixup:0.2"]`.

    Args:
        specs: names with arguments; a single text is split at its spaces.
        classes: number of classes, for those that mix targets and were not told.

    Raises:
        ValueError: for an unknown name or argument; the message lists the nearest.

    Example:
        >>> compose("shift:1 noise:sigma=0.05")
        Compose([Shift(pixels=1, border='zeros', p=1.0), Noise(sigma=0.05, white=None, p=1.0)])
    """
    return Compose([_named(spec, classes) for spec in _words(specs)])


def _words(specs: Sequence[str]) -> Sequence[str]:
    return specs.split() if isinstance(specs, str) else specs


def _named(spec: str, classes: int | None = None) -> Transform:
    kind = resolve(spec, _transforms(), "augmentation")
    given = kind if isinstance(kind, functools.partial) else functools.partial(kind)
    parameters = inspect.signature(given).parameters
    if classes is not None and "classes" in parameters and not given.keywords.get("classes"):
        given = functools.partial(given, classes=classes)
    return cast(Transform, given())


@functools.cache
def _transforms() -> Mapping[str, type[Transform]]:
    """Those that a name alone can build: every argument has a default."""
    public = {name: getattr(module, name) for module in _MODULES for name in module.__all__}
    return {name: kind for name, kind in public.items() if _needs_nothing(kind)}


def _needs_nothing(kind: Any) -> bool:
    if not isinstance(kind, type):
        return False
    parameters = inspect.signature(kind).parameters.values()
    return all(parameter.default is not parameter.empty for parameter in parameters)

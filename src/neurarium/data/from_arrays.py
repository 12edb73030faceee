"""Arrays, and pictures in folders of classes, become `Data`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from neurarium.data.arrays import ArrayPreprocessing, Arrays, as_input, codes_of
from neurarium.data.data import Data
from neurarium.data.errors import DataError, listing
from neurarium.data.images import ImagePreprocessing, Labelled, find_labelled
from neurarium.data.partition import partition
from neurarium.data.pictures import choose_format, decode
from neurarium.data.scale import Standardize
from neurarium.data.targets import Target, describe, target_of

ImageSize = int | str | tuple[int, int] | None


def from_arrays(arrays: Arrays, *, task: str | None, split: Mapping[str, Any], name: str) -> Data:
    """Split arrays (keeping a test set of their own) and fit scaling on the training rows."""
    if not len(arrays.x):
        raise DataError(f"'{name}' holds no rows; x and y must have at least ten")
    goal = _array_target(arrays, task)
    codes = _codes(arrays.y, arrays.labels, goal)
    shape, dtype = arrays.x.shape[1:], "uint8" if arrays.x.dtype == np.uint8 else "float32"
    given = {}
    if arrays.x_test is not None:
        x_test = as_input(arrays.x_test, shape, dtype)
        given["test"] = x_test, _codes(arrays.y_test, arrays.labels, goal)
    x = as_input(arrays.x, shape, dtype)
    splits, indices, notes, goal = _split(x, codes, goal, given, split)
    return Data(
        **splits,
        task=goal.task,
        classes=goal.classes,
        preprocessing=ArrayPreprocessing(shape, dtype, goal),
        transform=Standardize.fit(x[indices["train"]]),
        name=name,
        notes=[f"task: {describe(goal)} (--task overrides)"] * (task is None) + notes,
        indices=indices,
    )


def _array_target(arrays: Arrays, task: str | None) -> Target:
    y = arrays.y
    if y.ndim > 1 and y.shape[1] > 1:
        names = tuple(f"y_{i}" for i in range(y.shape[1]))
        flags = bool(np.isin(y, (0, 1)).all()) and task != "regression"
        return Target(names, "multilabel" if flags else "regression")
    goal = target_of(y.reshape(-1).tolist(), "y", task)
    return Target(goal.names, goal.task, arrays.labels) if arrays.labels else goal


def _codes(y: Any, labels: tuple[str, ...] | None, goal: Target) -> np.ndarray:
    """Codes of the user's values; a set with words for its labels brings the codes themselves."""
    return np.asarray(y).astype(np.int64) if labels else codes_of(y, goal)


def from_pictures(
    source: Path, *, image_size: ImageSize, split: Mapping[str, Any], name: str
) -> Data:
    """Find pictures by class (and split), decode them to one size, fit scaling on `train`."""
    found = find_labelled(source)
    train = found["train"]
    channels, size, resized = choose_format(train.pictures)
    told = parse_size(image_size)
    if told is not None and told != size:
        size, resized = told, True
    goal = target_of(train.labels, "folder", "multiclass")
    goal = Target(goal.names, goal.task, tuple(sorted(set(train.labels))))

    def load(part: Labelled) -> tuple[Tensor, np.ndarray]:
        return decode(part.pictures, channels, size), codes_of(part.labels, goal)

    given = {key: load(part) for key, part in found.items() if key != "train"}
    x, codes = load(train)
    splits, indices, notes, goal = _split(x, codes, goal, given, split)
    about = [f"classes: the {len(goal.classes or [])} folders {listing(goal.classes or [], 5)}"]
    height, width = size
    colour = "grey" if channels == 1 else "colour"
    how = ", others resized" if resized else ""
    about.append(f"images: {colour}, {height} x {width}{how} (--image-size overrides)")
    return Data(
        **splits,
        task=goal.task,
        classes=goal.classes,
        preprocessing=ImagePreprocessing(channels, size, goal),
        transform=Standardize.fit(x[indices["train"]]),
        name=name,
        notes=about + notes,
        indices=indices,
    )


def parse_size(size: ImageSize) -> tuple[int, int] | None:
    """64, "64", "48x64" or (48, 64) as (height, width)."""
    if size is None:
        return None
    try:
        parts = size.split("x") if isinstance(size, str) else np.atleast_1d(size).tolist()
        height, width = map(int, parts * 2 if len(parts) == 1 else parts)
    except (ValueError, TypeError):
        height = width = 0
    if min(height, width) < 1:
        raise DataError(f"image_size must be a size such as 64 or 48x64, got {size!r}")
    return height, width


def _split(
    x: Tensor,
    codes: np.ndarray,
    goal: Target,
    given: Mapping[str, tuple[Tensor, np.ndarray]],
    split: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, list[int]], list[str], Target]:
    """The splits as (input, target), their row numbers, notes, and the fitted target."""
    sizes = {f"{key}_size": 0.0 for key in given}
    classes = codes if goal.labels is not None else None
    rows, notes = partition(len(x), classes, **{**split, **sizes})
    goal = goal.fit(codes[rows["train"]])
    splits: dict[str, Any] = {k: (x[i], goal.encode(codes[i])) for k, i in rows.items() if len(i)}
    indices = {key: index.tolist() for key, index in rows.items()}
    for key, (inputs, labels) in given.items():
        splits[key] = (inputs, goal.encode(labels))
        indices[key] = list(range(len(inputs)))
    return splits, indices, notes, goal

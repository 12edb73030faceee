"""Arrays that need no reading: their shape, their labels and `.npz` files."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurarium.data.errors import DataError, listing, show
from neurarium.data.plain import fits
from neurarium.data.targets import Target

_MOST_NUMBERS = 2**26  # in one row; what says more is damaged


@dataclass(frozen=True)
class Arrays:
    """Inputs and labels; the test rows where the set brings its own.

    Args:
        labels: words for the labels 0, 1, ... of y.
    """

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray | None = None
    y_test: np.ndarray | None = None
    labels: tuple[str, ...] | None = None


class ArrayPreprocessing:
    """Arrays as tensors of the shape and type trained on; labels by `target`.

    Args:
        shape: of one row; flat rows of as many numbers are accepted and folded.
        dtype: "uint8" for images, else "float32".
    """

    def __init__(self, shape: tuple[int, ...], dtype: str, target: Target | None = None) -> None:
        self.shape, self.dtype, self.target = tuple(shape), dtype, target
        self.features = [f"[{', '.join(map(str, i))}]" for i in np.ndindex(*self.shape)]

    @property
    def classes(self) -> list[str] | None:
        return None if self.target is None else self.target.classes

    def transform(self, source: Any, with_target: bool = False) -> dict[str, Tensor]:
        """Rows as `input` (and `target`, if asked, from the pair (x, y))."""
        x, y = source if with_target else (source, None)
        batch = {"input": as_input(x, self.shape, self.dtype)}
        if with_target:
            assert self.target is not None
            batch["target"] = self.target.encode(codes_of(y, self.target))
        return batch

    def decode(self, output: Tensor) -> np.ndarray:
        """A network's output in the user's own labels or units."""
        assert self.target is not None
        return self.target.decode(output)

    def to_json(self) -> dict[str, Any]:
        """Everything fitted, as plain values."""
        target = None if self.target is None else self.target.to_json()
        return {"kind": "array", "shape": list(self.shape), "dtype": self.dtype, "target": target}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "ArrayPreprocessing":
        target = None if values["target"] is None else Target.from_json(values["target"])
        shape, dtype = values["shape"], values["dtype"]
        if not fits(shape, list[int]) or not 0 <= math.prod(shape) <= _MOST_NUMBERS:
            raise DataError(f"one row has the shape {show(shape)}, which is damaged")
        if dtype not in ("uint8", "float32"):
            raise DataError(f"rows are of the type {show(dtype)}, which is damaged")
        return cls(tuple(shape), dtype, target)


def as_input(x: Any, shape: tuple[int, ...], dtype: str) -> Tensor:
    """Rows as a tensor of one shape and type.

    Raises:
        DataError: if rows have another number of numbers, or hold NaN, infinity or words.
    """
    array = x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
    if array.dtype.kind not in "biuf":
        raise DataError(f"x must hold numbers, got an array of {array.dtype}")
    if array.shape[1:] != shape and array[:1].size != np.prod(shape, dtype=int):
        raise DataError(
            f"one row must have shape {shape}, got {array.shape[1:]}; "
            "the first axis counts the rows, pass x[None] for a single one"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0, 0])
        raise DataError(f"x holds NaN or infinity in row {row + 1}; replace or remove it")
    array = np.ascontiguousarray(array).reshape(len(array), *shape)
    cast = array.astype(dtype, copy=False)
    if dtype == "uint8" and not np.array_equal(cast, array):
        raise DataError(
            f"x must hold whole numbers from 0 to 255 as in training, got {array.min()} to "
            f"{array.max()}; multiply by 255 and round if it was scaled"
        )
    return torch.from_numpy(cast)


def codes_of(y: Any, target: Target) -> np.ndarray:
    """The target's class codes or outputs from an array of the user's own values."""
    import pandas as pd

    array = np.asarray(y.cpu() if isinstance(y, Tensor) else y)
    columns = array.reshape(len(array), -1)
    frame = pd.DataFrame({n: columns[:, i] for i, n in enumerate(target.names)})
    return target.codes(frame)


def read_npz(path: Path) -> Arrays:
    """The arrays x, y (and x_test, y_test) of an `.npz`.

    Raises:
        DataError: if the file is damaged, holds pickled objects or lacks these names.
    """
    arrays = read_numpy(path)
    if not isinstance(arrays, dict):
        raise DataError(f"'{path.name}' holds one bare array; save x and y with np.savez")
    found = {_ALIASES.get(name, name): array for name, array in arrays.items()}
    if not {"x", "y"} <= set(found):
        raise DataError(
            f"'{path.name}' must hold x and y (or x_train, y_train, x_test, y_test), "
            f"got {listing(arrays)}; save it as np.savez(path, x=..., y=...)"
        )
    _check_lengths(path, found)
    return Arrays(found["x"], found["y"], found.get("x_test"), found.get("y_test"))


def read_numpy(path: Path) -> dict[str, np.ndarray] | np.ndarray:
    """The arrays of an `.npz` by name in lower case, or the one of an `.npy`.

    Raises:
        DataError: if the file is damaged, holds pickled objects or does not fit in memory.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded as archive:
            return {name.lower(): _array(archive[name], name) for name in archive.files}
    except Exception as error:  # NumPy, zipfile, zlib and tokenize each raise their own kinds
        if isinstance(error, DataError):
            raise
        if isinstance(error, MemoryError):
            raise DataError(
                f"'{path.name}' does not fit in memory: {' '.join(str(error).split())}"
            ) from None
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"'{path.name}' is not a readable {path.suffix} file: {reason}") from error


def _array(value: Any, name: str) -> np.ndarray:
    if not isinstance(value, np.ndarray):  # a member that is no array comes as its bytes
        raise DataError(f"the member '{name}' is no array; save arrays with np.savez")
    return value


_ALIASES = {"x_train": "x", "y_train": "y", "xtrain": "x", "ytrain": "y"}


def _check_lengths(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise DataError(f"'{path.name}' holds only one of x_test and y_test; add the other")
    for x, y in (("x", "y"), ("x_test", "y_test")):
        if x in arrays and len(arrays[x]) != len(arrays[y]):
            raise DataError(
                f"'{path.name}': {x} has {len(arrays[x])} rows and {y} {len(arrays[y])}; "
                "they must match"
            )

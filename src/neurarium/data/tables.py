"""Rows of a table as one tensor, exactly the same whether a row comes alone or in a million."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurarium.data import columns as kinds
from neurarium.data.columns import Category, Column
from neurarium.data.errors import DataError, listing, nearest
from neurarium.data.targets import Target
from neurarium.data.values import DataFrame

_CONSTANT = 1e-12  # a spread below this share of the mean is rounding, not variation


@dataclass(frozen=True)
class Table:
    """A frame, its target column and, where classes have an order of their own, that order."""

    frame: DataFrame
    target: str | None = None
    labels: tuple[Any, ...] | None = None


class TablePreprocessing:
    r"""Columns of a table as numbers, fitted on the training rows only.

    Numbers, booleans and parts of dates are filled with the training median where missing, then
    standardized; each that was missing in training gets a 0/1 indicator beside it. Categories
    become codes, 0 for a missing, rare or never seen word.

    The tensor's columns are: numbers, indicators, then one code per category.

    Args:
        columns: how to read each column; categories fitted.
        scaling: `median`, `mean`, `std` and `indicator`, each one value per number.
        target: what is predicted, or None.

    Attributes:
        features: what each column of the tensor is.
    """

    def __init__(
        self, columns: Sequence[Column], scaling: Mapping[str, Any], target: Target | None = None
    ) -> None:
        self.columns = tuple(columns)
        self.numeric = [c for c in self.columns if not isinstance(c, Category)]
        self.words = [c for c in self.columns if isinstance(c, Category)]
        self.median, self.mean, self.std = (
            np.array(scaling[name], dtype=np.float64) for name in ("median", "mean", "std")
        )
        self.indicator = np.array(scaling["indicator"], dtype=bool)
        self.target = target
        names = [name for column in self.numeric for name in column.features]
        missing = [f"{n} is missing" for n, has in zip(names, self.indicator, strict=True) if has]
        self.features = [*names, *missing, *(column.name for column in self.words)]

    @classmethod
    def fit(
        cls, frame: DataFrame, columns: Sequence[Column], target: Target | None = None
    ) -> "TablePreprocessing":
        """Learn categories, medians and scales from these training rows."""
        fitted = [c.fit(frame[c.name]) if isinstance(c, Category) else c for c in columns]
        numbers = _numbers(frame, [c for c in fitted if not isinstance(c, Category)])
        missing = np.isnan(numbers)
        median = np.zeros(numbers.shape[1])
        known = ~missing.all(0)
        median[known] = np.nanmedian(numbers[:, known], axis=0)
        filled = np.where(missing, median, numbers)
        scaling = {
            "median": median,
            "mean": filled.mean(0),
            "std": filled.std(0),
            "indicator": missing.any(0),
        }
        if target is not None:
            target = target.fit(target.codes(frame))
        return cls(fitted, scaling, target)

    @property
    def categories(self) -> list[int]:
        """Number of codes, 0 included, of each of the tensor's last columns."""
        return [len(column.known) + 1 for column in self.words]

    @property
    def classes(self) -> list[str] | None:
        return None if self.target is None else self.target.classes

    def transform(self, source: Any, with_target: bool = False) -> dict[str, Tensor]:
        """Raw rows as `input` (and `target`, if asked).

        Args:
            source: a DataFrame with the columns trained on, in any order and among any others;
                a row as a mapping, or a list of those; or an array with exactly these columns.

        Raises:
            DataError: if a column is absent or a cell cannot be read.
        """
        frame = self._frame(source)
        needed = [column.name for column in self.columns]
        _require(frame, needed)
        parts = [self._scale(_numbers(frame, self.numeric))]
        parts += [column.read(frame[column.name])[:, None] for column in self.words]
        batch = {"input": torch.from_numpy(np.concatenate(parts, 1).astype(np.float32))}
        if with_target:
            assert self.target is not None
            _require(frame, self.target.names)
            batch["target"] = self.target.encode(self.target.codes(frame))
        return batch

    def _scale(self, numbers: np.ndarray) -> np.ndarray:
        missing = np.isnan(numbers)
        filled = np.where(missing, self.median, numbers)
        varies = self.std > _CONSTANT * np.abs(self.mean)
        scaled = (filled - self.mean) / np.where(varies, self.std, np.inf)
        return np.concatenate([scaled, missing[:, self.indicator]], 1)

    def _frame(self, source: Any) -> DataFrame:
        import pandas as pd

        if isinstance(source, pd.DataFrame):
            frame = source.rename(columns=str)
        elif isinstance(source, Mapping):
            frame = pd.DataFrame([source])
        elif isinstance(source, Sequence) and source and isinstance(source[0], Mapping):
            frame = pd.DataFrame(list(source))
        else:
            frame = self._from_array(np.asarray(source))
        if not len(frame):
            raise DataError("there are no rows to transform; pass at least one")
        return frame

    def _from_array(self, array: np.ndarray) -> DataFrame:
        import pandas as pd

        names = [column.name for column in self.columns]
        if array.ndim != 2 or array.shape[1] != len(names):
            raise DataError(
                f"rows without column names must have shape (rows, {len(names)}), got "
                f"{array.shape}; pass a DataFrame with the columns {listing(names)}"
            )
        return pd.DataFrame(array, columns=names)

    def decode(self, output: Tensor) -> np.ndarray:
        """A network's output in the user's own labels or units."""
        assert self.target is not None
        return self.target.decode(output)

    def to_json(self) -> dict[str, Any]:
        """Everything fitted, as plain values."""
        return {
            "kind": "table",
            "columns": [kinds.to_json(column) for column in self.columns],
            "scaling": {
                "features": [name for column in self.numeric for name in column.features],
                "median": self.median.tolist(),
                "mean": self.mean.tolist(),
                "std": self.std.tolist(),
                "indicator": self.indicator.tolist(),
            },
            "target": None if self.target is None else self.target.to_json(),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "TablePreprocessing":
        columns = [kinds.from_json(column) for column in values["columns"]]
        target = None if values["target"] is None else Target.from_json(values["target"])
        return cls(columns, values["scaling"], target)


def _numbers(frame: DataFrame, columns: Sequence[Column]) -> np.ndarray:
    parts = [column.read(frame[column.name]) for column in columns]
    return np.concatenate([np.empty((len(frame), 0)), *parts], 1)


def _require(frame: DataFrame, names: Sequence[str]) -> None:
    absent = [name for name in names if name not in frame.columns]
    if absent:
        hint = nearest(absent[0], frame.columns)
        raise DataError(f"the table lacks the column(s) {listing(absent)}; {hint}")

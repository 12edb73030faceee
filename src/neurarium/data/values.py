"""One cell of a table: when it is missing, what it says as text, what it is as a number.

Every value is judged by itself, never by its neighbours, so that a row alone is read exactly as
inside any table.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from neurarium.data.errors import DataError, show

if TYPE_CHECKING:
    from pandas import DataFrame, Series
else:  # pandas takes half a second to import: only the functions that read tables do
    DataFrame = Series = Any

MISSING = frozenset(
    ["", "?", "-", "--", ".", "na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "none"]
)
"""What people write, in any case and with spaces around, where there is no value."""


def text(value: Any) -> str | None:
    """The value as stripped text; None where it is missing; 3, 3.0 and "3" are all "3"."""
    if isinstance(value, str):
        value = value.strip()
        return None if value.lower() in MISSING else value
    if isinstance(value, float | np.floating):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() else str(value)
    return text(str(value))  # None, pandas' NA and NaT print as marks of the list above


def texts(series: Series) -> list[str | None]:
    """`text` of every value of a column."""
    return [text(value) for value in series.tolist()]


def number(word: str | None, decimal: str = ".") -> float:
    """The number a text stands for, NaN where it is missing; ValueError where it is a word."""
    if word is None:
        return math.nan
    if "_" in word:  # Python's own literals allow 1_000, tables do not
        raise ValueError(word)
    return float(word if decimal == "." else word.replace(decimal, "."))


def is_number(word: str, decimal: str = ".") -> bool:
    """Whether the text reads as a number."""
    try:
        number(word, decimal)
    except ValueError:
        return False
    return True


def is_numeric(series: Series) -> bool:
    """Whether the column is stored as numbers or booleans, so that nothing needs to be read."""
    from pandas.api import types

    return types.is_numeric_dtype(series) and not types.is_complex_dtype(series)


def numbers(series: Series, decimal: str = ".", marks: tuple[str, ...] = ()) -> np.ndarray:
    """The column as float64, NaN where missing or one of `marks`.

    Raises:
        DataError: at the first word that is no number, and at an infinity.
    """
    if is_numeric(series):
        array = series.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        words = [None if word in marks else word for word in texts(series)]
        array = np.array([_read(word, decimal, series.name, i) for i, word in enumerate(words)])
        array = array.astype(np.float64)
    if np.isinf(array).any():
        row = int(np.isinf(array).argmax())
        raise DataError(
            f"column '{series.name}' holds an infinity in row {row + 1}; "
            "leave the cell empty (a missing value) or write a finite number"
        )
    return array


def _read(word: str | None, decimal: str, column: Any, row: int) -> float:
    try:
        return number(word, decimal)
    except ValueError:
        raise DataError(
            f"column '{column}' holds numbers, got {show(word)} in row {row + 1}; "
            f"correct it, leave it empty, or train with --types {column}=category"
        ) from None

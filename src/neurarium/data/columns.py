"""The kinds of column: how the cells of each become numbers or category codes."""

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np

from neurarium.data.errors import DataError, show
from neurarium.data.plain import check_values
from neurarium.data.values import Series, is_numeric, numbers, texts

TRUE = frozenset(["true", "t", "yes", "y"])
FALSE = frozenset(["false", "f", "no", "n"])


@dataclass(frozen=True)
class Numeric:
    """A number as it is.

    Args:
        decimal: the decimal mark in text cells.
        marks: further words that mean "missing" in this column.
    """

    kind: ClassVar[str] = "numeric"
    name: str
    decimal: str = "."
    marks: tuple[str, ...] = ()

    @property
    def features(self) -> list[str]:
        return [self.name]

    def read(self, series: Series) -> np.ndarray:
        return numbers(series, self.decimal, self.marks)[:, None]


@dataclass(frozen=True)
class Boolean:
    """True is 1, false is 0, anything else is missing."""

    kind: ClassVar[str] = "boolean"
    name: str

    @property
    def features(self) -> list[str]:
        return [self.name]

    def read(self, series: Series) -> np.ndarray:
        if is_numeric(series):
            return numbers(series)[:, None]
        return np.array([_truth(word) for word in texts(series)], dtype=np.float64)[:, None]


def _truth(word: str | None) -> float:
    lower = (word or "").lower()
    if lower in TRUE or lower == "1":
        return 1.0
    return 0.0 if lower in FALSE or lower == "0" else np.nan


@dataclass(frozen=True)
class Date:
    """A date as year, month, day, weekday, hour (if any row has one) and running days.

    Args:
        format: how the text is written, strptime's codes or "ISO8601".
        hours: whether the time of day is a feature too.
    """

    kind: ClassVar[str] = "date"
    name: str
    format: str = "ISO8601"
    hours: bool = False

    @property
    def features(self) -> list[str]:
        parts = ["year", "month", "day", "weekday", *["hour"] * self.hours, "days"]
        return [f"{self.name}.{part}" for part in parts]

    def read(self, series: Series) -> np.ndarray:
        moments = self.moments(series)
        years, months, days = (moments.astype(f"datetime64[{unit}]") for unit in "YMD")
        midnight = days.astype(np.int64)
        # Running days count from 1970: the standardization that follows moves the origin anyway.
        running = moments.astype(np.int64) / 86400
        parts = [
            years.astype(np.int64) + 1970,
            months.astype(np.int64) % 12 + 1,
            (days - months).astype(np.int64) + 1,
            (midnight + 3) % 7,  # 1970-01-01 was a Thursday; Monday is 0
            *[moments.astype(np.int64) % 86400 / 3600] * self.hours,
            running,
        ]
        return np.where(np.isnat(moments)[:, None], np.nan, np.stack(parts, 1))

    def moments(self, series: Series) -> np.ndarray:
        """The column as datetime64[s], NaT where missing; DataError at anything else."""
        import pandas as pd

        words = texts(series)
        written = "ISO8601" if pd.api.types.is_datetime64_any_dtype(series) else self.format
        parsed = pd.to_datetime(
            pd.Series(words, dtype=object), format=written, errors="coerce", utc=True
        )
        moments = parsed.dt.tz_localize(None).to_numpy("datetime64[s]")
        for row, (word, moment) in enumerate(zip(words, moments, strict=True)):
            if word is not None and np.isnat(moment):
                raise DataError(
                    f"column '{self.name}' holds dates written {self.format}, got {show(word)} in "
                    f"row {row + 1}; correct it, leave it empty, or name the format: "
                    f"--types {self.name}=date:%d.%m.%Y"
                )
        return moments


@dataclass(frozen=True)
class Category:
    """One of the words of `known`, coded 1, 2, ... in order; 0 is missing, rare or never seen."""

    kind: ClassVar[str] = "category"
    name: str
    known: tuple[str, ...] = ()

    @property
    def features(self) -> list[str]:
        return [self.name]

    def fit(self, series: Series) -> "Category":
        """The same column with the words of these training rows as `known`.

        Words too rare to learn from share code 0 with the unseen ones, which teaches the network
        what to make of a word it has never met.
        """
        words = [word for word in _words(series) if word is not None]
        unique, counts = np.unique(np.array(words, dtype=object).astype(str), return_counts=True)
        least = _least_rows(len(series), len(unique))
        return replace(self, known=tuple(map(str, unique[counts >= least])))

    def read(self, series: Series) -> np.ndarray:
        code = {word: i for i, word in enumerate(self.known, start=1)}
        codes = [0 if word is None else code.get(word, 0) for word in _words(series)]
        return np.array(codes, dtype=np.int64)


def _words(series: Series) -> Iterable[str | None]:
    """Texts of a column, where "3.0" is the word "3": a missing value elsewhere makes it so."""
    for word in texts(series):
        whole = word is not None and word.endswith(".0") and word[:-2].lstrip("-").isdigit()
        yield word[:-2] if word is not None and whole else word


def _least_rows(rows: int, words: int) -> int:
    """How many training rows a word needs to get its own code."""
    least = min(max(rows // 1000, 1), 10)
    return max(least, 2) if words > 50 else least


Column = Numeric | Boolean | Date | Category
KINDS: dict[str, Callable[..., Column]] = {
    kind.kind: kind for kind in (Numeric, Boolean, Date, Category)
}


def to_json(column: Column) -> dict[str, Any]:
    """The column as plain values."""
    return {"kind": column.kind, **asdict(column)}


def from_json(values: dict[str, Any]) -> Column:
    """The column that `to_json` wrote."""
    kind = KINDS[values["kind"]]
    own = {name: value for name, value in values.items() if name != "kind"}
    check_values(own, kind, f"a {values['kind']} column")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in own.items()})


_DAYS = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d")
_MONTHS = ("%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%B %d, %Y", "%d %B %Y")
_TIMES = ("", " %H:%M", " %H:%M:%S")
_ISO = re.compile(r"\d{4}-\d\d(-\d\d([ T].*)?)?$")


def date_formats(words: list[str]) -> list[str]:
    """Every known format in which all the words are dates, the likeliest first."""
    import pandas as pd

    if all(_ISO.match(word) for word in words):
        candidates = ["ISO8601"]
    elif re.match(r"(\w+[-/., ]+){2}", words[0]) and re.search(r"\d{4}", words[0]):
        candidates = [day + time for day in (*_MONTHS, *_DAYS) for time in _TIMES]
    else:
        return []
    for part in (words[:20], words):  # most formats fail on the first few already
        column = pd.Series(part, dtype=object)
        candidates = [
            c
            for c in candidates
            if pd.to_datetime(column, format=c, errors="coerce", utc=True).notna().all()
        ]
    return candidates

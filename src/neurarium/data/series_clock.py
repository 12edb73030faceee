"""The times of a series: read, found to be equally far apart, and gone on with."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from neurarium.data.columns import Date, date_formats
from neurarium.data.errors import DataError, show
from neurarium.data.values import Series, is_number, texts

Unit = Literal["second", "month", "business day", "number"]

_DAY = 86_400
_SIZES = {1: "second", 60: "minute", 3600: "hour", _DAY: "day", 7 * _DAY: "week"}


class Times(NamedTuple):
    """The times of some rows, in the file's order: as written, and counted in a clock's unit."""

    words: list[str]
    places: np.ndarray

    @property
    def order(self) -> np.ndarray:
        """Row numbers from the earliest to the latest."""
        return np.argsort(self.places, kind="stable")


@dataclass(frozen=True)
class Clock:
    """A column of equally spaced times.

    Args:
        format: how a time is written, strptime's codes or "ISO8601"; "" for plain numbers.
        step: from one row to the next, in `unit`s.
        month_ends: whether each is the last day of its month.
    """

    name: str
    format: str
    unit: Unit
    step: float
    month_ends: bool = False

    @classmethod
    def fit(cls, series: Series, hint: Callable[[], str] = str) -> tuple["Clock", Times, list[str]]:
        """The clock of a column, what it reads there, and notes.

        Args:
            hint: tells what may explain times that come twice.

        Raises:
            DataError: if a time is missing or unreadable, or if they are not equally far apart.
        """
        name, words = str(series.name), _words(series)
        form, notes = _format(name, words)
        counts = _count(name, form, series, words)
        first = counts["second" if form else "number"]
        _check_once(name, words, first, hint)
        if len(words) < 3:
            raise DataError(f"a series needs at least three rows, got {len(words)}")
        # Months first: three quarters may be as many days by chance.
        for unit, places in sorted(counts.items(), key=lambda item: item[0] != "month"):
            gaps = np.diff(np.sort(places))
            if _equal(gaps, gaps[0]):
                ends = unit == "month" and _are_month_ends(Date(name, form).moments(series))
                return cls(name, form, unit, float(gaps[0]), ends), Times(words, places), notes
        raise DataError(_irregular(name, words, first, form))

    @property
    def every(self) -> str:
        """How far apart rows are, in words: "1 hour"."""
        return _duration(self.step, self.unit)

    @property
    def season(self) -> int:
        """Steps of the cycle that such a series most likely has: a day, a week or a year."""
        if self.unit == "month":
            return int(12 / self.step) if 12 % self.step == 0 else 1
        if self.unit == "business day":
            return 5 if self.step == 1 else 1
        if self.unit == "number":
            return 1
        if self.step >= _DAY:
            return {_DAY: 7, 7 * _DAY: 52}.get(int(self.step), 1)
        return int(_DAY / self.step) if self.step >= 60 and _DAY % self.step == 0 else 1

    def read(self, series: Series) -> Times:
        """The times of other rows, which must be as far apart; one row alone always is."""
        words = _words(series)
        places = _count(self.name, self.format, series, words).get(self.unit)
        if places is None or not _equal(np.diff(np.sort(places)), self.step):
            raise DataError(
                f"rows must be {self.every} apart in '{self.name}' as those trained on; add the "
                "missing rows (their cells may be empty) and remove those that come twice"
            )
        return Times(words, places)

    def after(self, times: Times, count: int) -> list[str]:
        """The next times, written as the latest of those is."""
        latest = int(times.order[-1])
        word, place = times.words[latest], times.places[latest]
        return [self._write(place + i * self.step, word) for i in range(1, count + 1)]

    def _write(self, place: float, like: str) -> str:
        if self.unit == "number":
            return f"{place:.12g}"
        moment: np.datetime64
        if self.unit == "second":
            moment = np.datetime64(round(place), "s")
        elif self.unit == "business day":
            moment = np.busday_offset(np.datetime64("1970-01-01"), round(place))
        else:
            moment = _in_month(round(place), _moment(like, self.format), self.month_ends)
        return _written(moment, self.format, like)


def _words(series: Series) -> list[str]:
    words = texts(series)
    for row, word in enumerate(words):
        if word is None:
            raise DataError(
                f"the time '{series.name}' is missing in row {row + 1}; write it or remove the row"
            )
    return [str(word) for word in words]


def _format(name: str, words: list[str]) -> tuple[str, list[str]]:
    """How all these times are written; "" for numbers."""
    if all(map(is_number, words)):
        return "", []
    formats = date_formats(words)
    if not formats:
        bad = [row for row, word in enumerate(words) if not date_formats([word])]
        if not bad:
            raise DataError(f"the times in '{name}' are written in several ways; use one of them")
        raise DataError(
            f"the time '{name}' is {show(words[bad[0]])} in row {bad[0] + 1}, which is neither a "
            "date such as 2024-01-31 13:00 nor a number; correct it, or name another --time"
        )
    if {"%d/%m/%Y", "%m/%d/%Y"} <= {form[:8] for form in formats}:
        return formats[0], [f"dates of '{name}' are read day first; write 2024-01-31 to be sure"]
    return formats[0], []


def _count(name: str, form: str, series: Series, words: list[str]) -> dict[Unit, np.ndarray]:
    """The times in each unit that can express them all, the likeliest first."""
    if not form:
        bad = next((word for word in words if not is_number(word)), None)
        if bad is not None:
            raise DataError(f"the times in '{name}' are numbers as in training, got {show(bad)}")
        return {"number": np.array([float(word) for word in words])}
    moments = Date(name, form).moments(series)
    days, months = moments.astype("datetime64[D]"), moments.astype("datetime64[M]")
    found: dict[Unit, np.ndarray] = {"second": moments.astype(np.int64).astype(float)}
    if len({*(moments - months).tolist()}) == 1 or _are_month_ends(moments):
        found["month"] = months.astype(np.int64).astype(float)
    if (moments == days).all() and np.is_busday(days).all():
        found["business day"] = np.busday_count("1970-01-01", days).astype(float)
    return found


def _are_month_ends(moments: np.ndarray) -> bool:
    days = moments.astype("datetime64[D]")
    following = days.astype("datetime64[M]") + 1
    ends = following.astype("datetime64[D]") - 1
    return bool((days == ends).all() and (moments == days).all())


def _check_once(name: str, words: list[str], places: np.ndarray, hint: Callable[[], str]) -> None:
    order = np.argsort(places, kind="stable")
    twice = np.flatnonzero(np.diff(places[order]) == 0)
    if len(twice):
        a, b = sorted(order[twice[0] : twice[0] + 2] + 1)
        raise DataError(
            f"the time {show(words[a - 1])} comes twice in '{name}' (rows {a} and {b}); "
            + (hint() or "one series has one row for each time: remove or sum those that repeat")
        )


def _equal(gaps: np.ndarray, step: float) -> bool:
    return bool(np.allclose(gaps, step, rtol=1e-6, atol=0))


def _irregular(name: str, words: list[str], places: np.ndarray, form: str) -> str:
    order = np.argsort(places, kind="stable")
    gaps = np.diff(places[order])
    usual = Counter(gaps.tolist()).most_common(1)[0][0]
    odd = int(np.argmax(~np.isclose(gaps, usual, rtol=1e-6, atol=0)))
    unit: Unit = "second" if form else "number"
    return (
        f"the times in '{name}' are not equally far apart: mostly {_duration(usual, unit)}, but "
        f"{_duration(gaps[odd], unit)} from {words[order[odd]]} to {words[order[odd + 1]]}; add "
        "the missing rows (their cells may be empty), or make one row of each day, week or month"
    )


def _duration(step: float, unit: Unit) -> str:
    step, name = float(step), str(unit)
    if unit == "number":
        return f"{step:.6g}"
    if unit == "second":
        size = max(size for size in _SIZES if step % size == 0 or size == 1)
        step, name = step / size, _SIZES[size]
    return f"{step:.6g} {name}{'s' * (step != 1)}"


# Writing


def _moment(word: str, form: str) -> np.datetime64:
    import pandas as pd

    return Date("time", form).moments(pd.Series([word], dtype=object))[0]


def _in_month(month: int, like: np.datetime64, end: bool) -> np.datetime64:
    """The same day and hour of another month, or its last day."""
    own = like.astype("datetime64[M]")
    day = (like.astype("datetime64[D]") - own.astype("datetime64[D]")).astype(int)
    first = np.datetime64(month, "M")
    last = ((first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")).astype(int) - 1
    whole = first.astype("datetime64[D]") + (last if end else min(day, last))
    return whole.astype("datetime64[s]") + (like - like.astype("datetime64[D]"))


def _written(moment: np.datetime64, form: str, like: str) -> str:
    moment = moment.astype("datetime64[s]")
    if form != "ISO8601":
        return moment.astype(object).strftime(form)
    iso = str(moment)
    if len(like) <= 10:
        return iso[: len(like)]
    zone = re.search(r"(Z|[+-]\d\d:?\d\d)$", like[11:])
    clock = (
        iso[11:] if like[11:].count(":") > 1 + (zone is not None and ":" in zone[0]) else iso[11:16]
    )
    suffix = "" if zone is None else "Z" if zone[0] == "Z" else "+00:00"  # read as that of UTC
    return f"{iso[:10]}{like[10]}{clock}{suffix}"

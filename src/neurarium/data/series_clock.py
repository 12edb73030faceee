"""The times of a series: read, found to be equally far apart, and gone on with."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple

import numpy as np

from neurarium.data.columns import Date, date_formats
from neurarium.data.errors import DataError, show
from neurarium.data.values import Series, is_number, texts

Unit = Literal["second", "month", "business day", "microsecond", "number"]

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
        first = next(iter(counts.values()))
        _check_once(name, words, first, hint)
        if len(words) < 3:
            raise DataError(f"a series needs at least three rows, got {len(words)}")
        # Months first: three quarters may be as many days by chance.
        for unit, places in sorted(counts.items(), key=lambda item: item[0] != "month"):
            # The mean of the steps has less of the rounding of numbers than any of them.
            step = float(places.max() - places.min()) / (len(places) - 1)
            if _equal(places, step):
                ends = unit == "month" and _are_month_ends(_moments(name, form, series))
                return cls(name, form, unit, step, ends), Times(words, places), notes
        raise DataError(_irregular(name, words, first, next(iter(counts))))

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
        if self.unit in ("number", "microsecond"):
            return 1
        if self.step >= _DAY:
            return {_DAY: 7, 7 * _DAY: 52}.get(int(self.step), 1)
        return int(_DAY / self.step) if self.step >= 60 and _DAY % self.step == 0 else 1

    def read(self, series: Series) -> Times:
        """The times of other rows, which must be as far apart; one row alone always is."""
        words = _words(series)
        places = _count(self.name, self.format, series, words).get(self.unit)
        if places is None or not _equal(places, self.step):
            raise DataError(
                f"rows must be {self.every} apart in '{self.name}' as those trained on; add the "
                "missing rows (their cells may be empty) and remove those that come twice"
            )
        return Times(words, places)

    def after(self, times: Times, count: int) -> list[str]:
        """The next times, written as the latest of those is."""
        latest = int(times.order[-1])
        word, place = times.words[latest], times.places[latest].item()
        step = int(self.step) if self.step.is_integer() else self.step
        if self.unit == "number":
            digits = max(map(_decimals, [*times.words, f"{step:.6g}"]))
            return [_plain(place + i * step, digits) for i in range(1, count + 1)]
        return [self._write(place + i * step, word) for i in range(1, count + 1)]

    def _write(self, place: float, like: str) -> str:
        moment: np.datetime64
        if self.unit == "second":
            moment = np.datetime64(round(place), "s")
        elif self.unit == "microsecond":
            moment = np.datetime64(round(place), "us")
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
        whole = all(re.fullmatch(r"[+-]?\d+", word) and abs(int(word)) < 2**62 for word in words)
        return {"number": np.array([int(word) if whole else float(word) for word in words])}
    moments = _moments(name, form, series)
    days, months = moments.astype("datetime64[D]"), moments.astype("datetime64[M]")
    seconds = moments.astype("datetime64[s]")
    found: dict[Unit, np.ndarray] = {}
    if (seconds == moments).all():
        found["second"] = seconds.astype(np.int64).astype(float)
    found["microsecond"] = moments.astype(np.int64)
    if len({*(moments - months).tolist()}) == 1 or _are_month_ends(moments):
        found["month"] = months.astype(np.int64).astype(float)
    if (moments == days).all() and np.is_busday(days).all():
        found["business day"] = np.busday_count("1970-01-01", days).astype(float)
    return found


def _moments(name: str, form: str, series: Series) -> np.ndarray:
    """The times as datetime64[us]."""
    import pandas as pd

    moments = Date(name, form).moments(series)  # which says what is wrong, but has whole seconds
    words = texts(series)
    if not any(re.search(r":\d\d[.,]\d", str(word)) for word in words):
        return moments.astype("datetime64[us]")
    parsed = pd.to_datetime(pd.Series(words, dtype=object), format="ISO8601", utc=True)
    return parsed.dt.tz_localize(None).to_numpy("datetime64[us]")


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


def _equal(places: np.ndarray, step: float) -> bool:
    """Whether places are a step apart, as far as numbers of their size can tell."""
    gaps = np.diff(np.sort(places))
    return bool(np.allclose(gaps, step, rtol=1e-6, atol=_rounding(places)))


def _rounding(places: np.ndarray) -> float:
    """By how much a gap may be off, as its ends are rounded."""
    return 2 * float(np.spacing(np.abs(places).max())) if places.dtype.kind == "f" else 0.0


def _irregular(name: str, words: list[str], places: np.ndarray, unit: Unit) -> str:
    order = np.argsort(places, kind="stable")
    gaps = np.diff(places[order])
    if places.dtype.kind == "f":  # what large numbers cannot tell apart is one gap
        gaps = gaps.round(max(0, -int(np.log10(_rounding(places))) - 1))
    usual = Counter(gaps.tolist()).most_common(1)[0][0]
    odd = int(np.argmax(~np.isclose(gaps, usual, rtol=1e-6, atol=0)))
    return (
        f"the times in '{name}' are not equally far apart: mostly {_duration(usual, unit)}, but "
        f"{_duration(gaps[odd], unit)} from {words[order[odd]]} to {words[order[odd + 1]]}; add "
        "the missing rows (their cells may be empty), or make one row of each day, week or month"
    )


def _duration(step: float, unit: Unit) -> str:
    step, name = float(step), str(unit)
    if unit == "number":
        return f"{step:.6g}"
    if unit == "microsecond":
        if step % 1e6 and step < 1e6:
            step, name = (step / 1e3, "millisecond") if step >= 1e3 else (step, name)
            return f"{step:.6g} {name}{'s' * (step != 1)}"
        step, name = step / 1e6, "second"
    if name == "second":
        size = max(size for size in _SIZES if step % size == 0 or size == 1)
        step, name = step / size, _SIZES[size]
    return f"{step:.6g} {name}{'s' * (step != 1)}"


# Writing


def _decimals(word: str) -> int:
    exponent = Decimal(word).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _plain(number: float, digits: int) -> str:
    """A number with at most so many decimals, and every digit before them."""
    word = f"{number:.{digits}f}" if digits else str(round(number))
    return word.rstrip("0").rstrip(".") if "." in word else word


def _moment(word: str, form: str) -> np.datetime64:
    import pandas as pd

    return _moments("time", form, pd.Series([word], dtype=object))[0]


def _in_month(month: int, like: np.datetime64, end: bool) -> np.datetime64:
    """The same day and hour of another month, or its last day."""
    own = like.astype("datetime64[M]")
    day = (like.astype("datetime64[D]") - own.astype("datetime64[D]")).astype(int)
    first = np.datetime64(month, "M")
    last = ((first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")).astype(int) - 1
    whole = first.astype("datetime64[D]") + (last if end else min(day, last))
    return whole.astype("datetime64[s]") + (like - like.astype("datetime64[D]"))


def _written(moment: np.datetime64, form: str, like: str) -> str:
    fraction = _fraction(moment, like)
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
    if fraction:
        clock = f"{iso[11:]}{fraction}"
    suffix = "" if zone is None else "Z" if zone[0] == "Z" else "+00:00"  # read as that of UTC
    return f"{iso[:10]}{like[10]}{clock}{suffix}"


def _fraction(moment: np.datetime64, like: str) -> str:
    """What is written behind the seconds: as many digits as there, or as it takes."""
    micro = int(moment.astype("datetime64[us]").astype(np.int64)) % 1_000_000
    found = re.search(r":\d\d[.,](\d+)", like)
    if not micro and not found:
        return ""
    digits = f"{micro:06d}"
    least = 3 if digits.endswith("000") else 6
    size = min(max(least if micro else 0, len(found[1]) if found else 0), 6)
    return f".{digits[:size]}"

"""What each column of a table is: inferred, told to the user, overridable."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from neurarium.data.columns import (
    FALSE,
    KINDS,
    TRUE,
    Boolean,
    Category,
    Column,
    Date,
    Numeric,
    date_formats,
)
from neurarium.data.errors import DataError, listing, nearest, show
from neurarium.data.values import DataFrame, Series, is_number, is_numeric, numbers, texts

Types = Mapping[str, str] | str | None

_ALIASES = {
    "categorical": "category",
    "number": "numeric",
    "int": "numeric",
    "float": "numeric",
    "bool": "boolean",
    "datetime": "date",
    "ignore": "drop",
}
_ID_NAME = re.compile(r"(.*[_ ])?(id|uuid|index|row|unnamed: 0)$", re.IGNORECASE)
_FREE_TEXT = "is free text"
_MANY_ROWS = 20  # below this, all values being different proves nothing


class Dropped(str):
    """Why a column is of no use; the text completes "column x ..."."""


def infer_columns(frame: DataFrame, types: Types = None) -> tuple[list[Column], list[str]]:
    """The columns worth learning from, and notes on what was inferred and dropped.

    Args:
        types: what the user knows better, `{"zip": "category"}` or
            "zip=category,when=date:%d/%m/%Y"; kinds are numeric, category, boolean, date, text and
            drop.

    Raises:
        DataError: if `types` names no such column or kind, or if no column is left.
    """
    told = parse_types(types)
    for name in told:
        if name not in frame.columns:
            raise DataError(
                f"--types names a column '{name}', which the table does not have; "
                + nearest(name, frame.columns)
            )
    notes: list[str] = []
    found: dict[str, Column | Dropped] = {}
    for name in frame.columns:
        series = frame[name]
        found[name] = _as_told(series, told[name]) if name in told else _infer(series, notes)
    _drop_duplicates(frame, {n: c for n, c in found.items() if n not in told}, found)
    columns = [column for column in found.values() if not isinstance(column, Dropped)]
    if not columns:
        reasons = "; ".join(f"'{name}' {reason}" for name, reason in found.items())
        raise DataError(f"no column is left to learn from: {reasons}; --types NAME=KIND keeps one")
    return columns, [*_summary(columns), *_drop_notes(frame, found, told), *notes]


def parse_types(types: Types) -> dict[str, str]:
    """`types` as a mapping from column to kind (with a date's format after a colon)."""
    if not types:
        return {}
    if isinstance(types, str):
        pairs = [pair.rpartition("=") for pair in types.split(",")]
        types = {name.strip(): kind.strip() for name, _, kind in pairs}
    parsed = {}
    for name, spec in types.items():
        kind, _, form = spec.partition(":")
        kind = _ALIASES.get(kind, kind)
        if kind not in (*KINDS, "text", "drop") or not name:
            raise DataError(
                f"--types wants NAME=KIND, got '{name}={spec}'; "
                f"kinds are {', '.join(KINDS)}, text and drop"
            )
        parsed[str(name)] = f"{kind}:{form}" if form else kind
    return parsed


def _as_told(series: Series, spec: str) -> Column | Dropped:
    kind, _, form = spec.partition(":")
    name = str(series.name)
    if kind == "drop":
        return Dropped("is dropped as told")
    if kind == "text":
        return Dropped("is text, which is read alone")
    if kind == "date":
        return _date(series, form or _first_format(series))
    column = KINDS[kind](name)
    column.read(series)  # raises now, naming the row, if the cells are something else
    return column


def _infer(series: Series, notes: list[str]) -> Column | Dropped:
    import pandas as pd

    if not series.notna().any():
        return Dropped("is empty")
    if pd.api.types.is_bool_dtype(series):
        return Dropped("never varies") if series.nunique() < 2 else Boolean(str(series.name))
    if is_numeric(series):
        return _infer_numeric(series, Numeric(str(series.name)))
    if pd.api.types.is_datetime64_any_dtype(series):
        return _date(series, "ISO8601")
    return _infer_text(series, notes)


def _infer_numeric(series: Series, column: Numeric) -> Column | Dropped:
    values = column.read(series)[:, 0]
    known = values[~np.isnan(values)]
    if len(known) == len(values) and np.ptp(values) == 0:
        return Dropped("never varies")
    whole = len(values) >= _MANY_ROWS and bool((known == np.floor(known)).all())
    if whole and len(np.unique(known)) == len(values):
        consecutive = np.ptp(values) == len(values) - 1
        if consecutive or _ID_NAME.match(column.name):
            return Dropped("numbers the rows")
    return column


def _infer_text(series: Series, notes: list[str]) -> Column | Dropped:
    name = str(series.name)
    words = [word for word in texts(series) if word is not None]
    unique = sorted(set(words))
    if not unique:
        return Dropped("is empty")
    if len(unique) == 1 and len(words) == len(series):
        return Dropped("never varies")
    if _is_boolean({word.lower() for word in unique}):
        return Boolean(name)
    column = _as_numeric(name, unique, words, notes)
    if column is not None:
        return _infer_numeric(series, column)
    formats = date_formats(unique)
    if formats:
        if {"%d/%m/%Y", "%m/%d/%Y"} <= {form[:8] for form in formats}:
            notes.append(
                f"dates of '{name}' are read day first ({formats[0]}); "
                f"--types {name}=date:%m/%d/%Y reads them month first"
            )
        return _date(series, formats[0])
    if len(words) >= _MANY_ROWS and len(unique) > 0.8 * len(words):
        return Dropped(_FREE_TEXT if _wordy(words) else "differs in nearly every row")
    return Category(name)


def is_free_text(series: Series) -> bool:
    """Whether the cells are sentences."""
    if is_numeric(series):
        return False
    words = [word for word in texts(series) if word is not None]
    if len(words) < _MANY_ROWS or not _wordy(words):  # nearly always, and quickly seen
        return False
    found = _infer(series, [])
    return isinstance(found, Dropped) and found == _FREE_TEXT


def _wordy(words: Sequence[str]) -> bool:
    return bool(np.mean([len(word.split()) for word in words]) > 3)


def _is_boolean(lower: set[str]) -> bool:
    return len(lower) == 2 and len(lower & TRUE) == 1 and len(lower & FALSE) == 1


def _as_numeric(name: str, unique: list[str], words: list[str], notes: list[str]) -> Numeric | None:
    """A numeric column if all its words are numbers, or nearly all and few others exist."""
    comma = any("," in word for word in unique) and not any("." in word for word in unique)
    decimal = "," if comma else "."
    marks = [word for word in unique if not is_number(word, decimal)]
    if not marks:
        return Numeric(name, decimal)
    stray = sum(word in set(marks) for word in words)
    if len(marks) > 5 or stray > 0.05 * len(words) or len(words) < _MANY_ROWS:
        return None
    notes.append(
        f"'{name}' holds numbers but for {stray} of {len(words)} cells "
        f"({listing(map(show, marks), 3)}), which count as missing (--types {name}=category)"
    )
    return Numeric(name, decimal, tuple(marks))


def _first_format(series: Series) -> str:
    words = sorted({word for word in texts(series) if word is not None})
    formats = date_formats(words) if words else []
    return formats[0] if formats else "ISO8601"


def _date(series: Series, form: str) -> Date:
    moments = Date(str(series.name), form).moments(series)
    clock = moments - moments.astype("datetime64[D]")
    return Date(str(series.name), form, hours=bool((clock > np.timedelta64(0, "s")).any()))


def _drop_duplicates(
    frame: DataFrame, inferred: dict[str, Column | Dropped], found: dict[str, Column | Dropped]
) -> None:
    """Mark in `found` each inferred column whose cells equal those of an earlier one."""
    first: dict[int, str] = {}
    for name, column in found.items():
        if isinstance(column, Dropped):
            continue
        series = frame[name]
        cells = numbers(series).tobytes() if is_numeric(series) else tuple(texts(series))
        twin = first.setdefault(hash(cells), name)
        if twin != name and name in inferred:
            found[name] = Dropped(f"repeats '{twin}'")


def _summary(columns: list[Column]) -> list[str]:
    def named(kind: str) -> list[str]:
        return [column.name for column in columns if column.kind == kind]

    parts = [f"{len(named('numeric'))} numeric"] if named("numeric") else []
    parts += [f"{kind}: {listing(named(kind))}" for kind in list(KINDS)[1:] if named(kind)]
    return [f"columns: {'; '.join(parts)} (--types NAME=KIND overrides)"]


def _drop_notes(
    frame: DataFrame, found: dict[str, Column | Dropped], told: Mapping[str, str]
) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for name, column in found.items():
        if isinstance(column, Dropped):
            reasons.setdefault(column, []).append(name)
    notes = []
    for reason, names in reasons.items():
        kind = "numeric" if is_numeric(frame[names[0]]) or "number" in reason else "category"
        keep = "" if names[0] in told else f" (--types {names[0]}={kind} keeps it)"
        if reason == _FREE_TEXT:
            keep = f" (--types {names[0]}=text learns from it alone)"
        notes.append(f"dropped {listing(names)}: {reason}{keep}")
    return notes

"""Text and Parquet files as tables of raw cells."""

import codecs
import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from neurarium.data.errors import DataError
from neurarium.data.values import DataFrame, is_number, is_numeric, text

Header = bool | Literal["auto"]
_DELIMITERS = ",;\t|"
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def read_table(
    path: str | Path,
    *,
    header: Header = "auto",
    encoding: str = "utf-8",
    delimiter: str | None = None,
) -> tuple[DataFrame, list[str]]:
    """A CSV, TSV or Parquet file as a frame, and notes on what was inferred.

    The cells of a text file stay text, as written: what they mean is decided later, by column.

    Args:
        header: whether the first line names the columns; "auto" looks at it.
        delimiter: what separates the cells; None finds it among , ; tab and |.

    Raises:
        DataError: if the file is empty, binary, in another encoding or ragged.
    """
    path = Path(path)
    if path.suffix.lower() in (".parquet", ".pq"):
        return _read_parquet(path), []
    lines = _decode(path, encoding)
    notes = []
    if delimiter is None:
        delimiter = _find_delimiter(lines)
        if delimiter != ",":
            notes.append(f"cells are separated by {_NAMES[delimiter]} (--delimiter overrides)")
    rows = _split(path, lines, delimiter)
    if header == "auto":
        header = _has_header(rows)
        if not header:
            notes.append(
                f"the first line looks like data: columns are named column_1 ... "
                f"column_{len(rows[0])} (--header says it holds the names)"
            )
    return _frame(path, rows, header), notes


def _read_parquet(path: Path) -> DataFrame:
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
        for column in frame.columns:
            if not is_numeric(frame[column]):
                frame[column].tolist()  # damage to a cell shows when it is read
        return frame
    except ImportError:
        raise DataError(
            f"reading '{path.name}' needs pyarrow, which is not installed; "
            "pip install 'neurarium[parquet]'"
        ) from None
    except Exception as error:  # pyarrow raises many kinds for a damaged file
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"'{path.name}' is not a readable Parquet file: {reason}") from error


def _decode(path: Path, encoding: str) -> str:
    raw = path.read_bytes()
    if path.suffix.lower() == ".gz":
        raw = _decompress(path, raw)
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif raw.startswith(codecs.BOM_UTF8):
        encoding = "utf-8-sig"
    elif b"\0" in raw[: 2**16]:
        raise DataError(
            f"'{path.name}' is a binary file (it holds zero bytes), not a table; "
            "pass a CSV, TSV or Parquet file"
        )
    try:
        decoded = raw.decode(encoding)
    except LookupError:
        raise DataError(
            f"there is no encoding '{encoding}'; try utf-8, cp1252 or latin-1"
        ) from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"'{path.name}' is not {encoding}: byte 0x{raw[error.start]:02x} in line {line}; "
            "say what it is, e.g. --encoding cp1252 (Western Windows)"
        ) from None
    if not decoded.strip():
        raise DataError(f"'{path.name}' is empty; a table needs a line of names and rows below it")
    return decoded


def _decompress(path: Path, raw: bytes) -> bytes:
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"'{path.name}' is a damaged gzip file ({error}); get it again") from error


def _find_delimiter(lines: str) -> str:
    """The candidate that cuts most of the first lines into the same number of cells."""

    def evidence(delimiter: str) -> tuple[int, int]:
        sample = io.StringIO(lines[: 2**16], newline="")
        try:
            widths = [len(row) for row in islice(csv.reader(sample, delimiter=delimiter), 20)]
        except csv.Error:  # a cell beyond all bounds
            return 0, 0
        width, count = Counter(widths).most_common(1)[0]
        return (count if width > 1 else 0), width

    return max(_DELIMITERS, key=evidence)


def _split(path: Path, lines: str, delimiter: str) -> list[list[str]]:
    reader = csv.reader(io.StringIO(lines, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    try:
        for row in reader:
            if not row:  # a blank line
                continue
            rows.append(row)
            if len(row) != len(rows[0]):
                raise DataError(
                    f"line {reader.line_num} of '{path.name}' has {len(row)} cells, the first line "
                    f"{len(rows[0])}; correct the line, or name the separator with --delimiter"
                )
    except csv.Error as error:
        raise DataError(
            f"line {reader.line_num} of '{path.name}' is not a table's: {error}; "
            "look for an unclosed quote, or pass a CSV, TSV or Parquet file"
        ) from None
    return rows


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns.

    A word above numbers is a name. Without such a column, numbers in the first row are data
    (unless they count 0, 1, 2, ...), and so are words that come again further down.
    """
    first, body = [text(cell) for cell in rows[0]], rows[1:200]
    numeric = [cell is not None and is_number(cell) for cell in first]
    if first == [str(i) for i in range(len(first))]:
        return True
    columns = [[text(row[i]) for row in body] for i in range(len(first))]
    for cell, is_digit, column in zip(first, numeric, columns, strict=True):
        known = [value for value in column if value is not None]
        if cell is not None and not is_digit and known and all(map(is_number, known)):
            return True
    repeated = any(c is not None and c in column for c, column in zip(first, columns, strict=True))
    return not any(numeric) and not repeated


def _frame(path: Path, rows: list[list[str]], header: bool) -> DataFrame:
    import pandas as pd

    if header:
        names = [name.strip() for name in rows.pop(0)]
        check_names(names, f"'{path.name}'")
        if not rows:
            raise DataError(f"'{path.name}' holds only a header; there are no rows below it")
        names = [name or f"column_{i}" for i, name in enumerate(names, start=1)]
    else:
        names = [f"column_{i}" for i in range(1, len(rows[0]) + 1)]
    columns: dict[str, Any] = dict(zip(names, zip(*rows, strict=True), strict=True))
    return pd.DataFrame({n: pd.Series(c, dtype=object) for n, c in columns.items()})


def check_names(names: Sequence[Any], where: str) -> None:
    """Raise if two columns share a name."""
    twice = [str(name) for name, count in Counter(names).items() if count > 1 and name != ""]
    if twice:
        raise DataError(f"{where} has two columns named '{twice[0]}'; rename or remove one of them")

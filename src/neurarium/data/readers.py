"""Text and Parquet files as tables of raw cells."""

import codecs
import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TextIO

from neurarium.data.errors import DataError
from neurarium.data.values import DataFrame, is_number, is_numeric, text

Header = bool | Literal["auto"]
_HEAD = 2**16  # bytes or characters at the beginning that are looked at
_LOOKED_AT = 201  # rows, for whether the first one names the columns
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
    if is_parquet(path):
        return _read_parquet(path), []
    table = TextTable(path, header=header, encoding=encoding, delimiter=delimiter)
    return next(table.frames()), table.notes


def is_parquet(path: Path) -> bool:
    """Whether the file's name says so."""
    return path.suffix.lower() in (".parquet", ".pq")


class TextTable:
    """A CSV or TSV file: how it is written, and its rows, whole or piece by piece.

    Args: as of `read_table`.

    Attributes:
        names: of the columns.
        notes: on what was inferred.
    """

    def __init__(
        self,
        path: Path,
        *,
        header: Header = "auto",
        encoding: str = "utf-8",
        delimiter: str | None = None,
    ) -> None:
        self.path, self.notes = path, list[str]()
        self.encoding = self._find_encoding(encoding)
        with self._reading() as lines:
            head = lines.read(_HEAD)
        if not head.strip():
            raise DataError(
                f"'{path.name}' is empty; a table needs a line of names and rows below it"
            )
        self.delimiter = _find_delimiter(head) if delimiter is None else delimiter
        if delimiter is None and self.delimiter != ",":
            separators = _NAMES[self.delimiter]
            self.notes.append(f"cells are separated by {separators} (--delimiter overrides)")
        first = list(islice(self.rows(), _LOOKED_AT))
        self.header = _has_header(first) if header == "auto" else header
        if not self.header and header == "auto":
            self.notes.append(
                f"the first line looks like data: columns are named column_1 ... "
                f"column_{len(first[0])} (--header says it holds the names)"
            )
        self.names = self._find_names(first)

    def _find_encoding(self, told: str) -> str:
        try:
            codecs.lookup(told)
        except LookupError:
            raise DataError(
                f"there is no encoding '{told}'; try utf-8, cp1252 or latin-1"
            ) from None
        with self._bytes() as file, self._undamaged():
            raw = file.read(_HEAD)
        if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        if raw.startswith(codecs.BOM_UTF8):
            return "utf-8-sig"
        if b"\0" in raw:
            raise DataError(
                f"'{self.path.name}' is a binary file (it holds zero bytes), not a table; "
                "pass a CSV, TSV or Parquet file"
            )
        return told

    def _find_names(self, first: Sequence[Sequence[str]]) -> list[str]:
        if not self.header:
            return [f"column_{i}" for i in range(1, len(first[0]) + 1)]
        names = [name.strip() for name in first[0]]
        check_names(names, f"'{self.path.name}'")
        if len(first) == 1:
            raise DataError(f"'{self.path.name}' holds only a header; there are no rows below it")
        return [name or f"column_{i}" for i, name in enumerate(names, start=1)]

    def frames(self, rows: int | None = None) -> Iterator[DataFrame]:
        """All rows, or at most so many at a time."""
        found = islice(self.rows(), int(self.header), None)
        while piece := list(islice(found, rows)):
            yield self.frame(piece)

    def frame(self, rows: Sequence[Sequence[str]]) -> DataFrame:
        """Rows of cells as a frame of texts."""
        import pandas as pd

        columns = dict(zip(self.names, zip(*rows, strict=True), strict=True))
        return pd.DataFrame({n: pd.Series(c, dtype=object) for n, c in columns.items()})

    def rows(self) -> Iterator[list[str]]:
        """The cells of each line that is not blank, of the first one too."""
        with self._reading() as lines:
            yield from self.cells(lines)

    def cells(self, lines: Iterable[str]) -> Iterator[list[str]]:
        """The cells of each of these lines; an error where their number is not the first's."""
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        width = None
        try:
            for row in reader:
                if not row:  # a blank line
                    continue
                width = len(row) if width is None else width
                if len(row) != width:
                    raise DataError(
                        f"line {reader.line_num} of '{self.path.name}' has {len(row)} cells, the "
                        f"first line {width}; correct the line, or name the separator with "
                        "--delimiter"
                    )
                yield row
        except csv.Error as error:
            raise DataError(
                f"line {reader.line_num} of '{self.path.name}' is not a table's: {error}; "
                "look for an unclosed quote, or pass a CSV, TSV or Parquet file"
            ) from None

    def _bytes(self) -> Any:
        packed = self.path.suffix.lower() == ".gz"
        return gzip.open(self.path) if packed else self.path.open("rb")

    @contextmanager
    def _undamaged(self) -> Iterator[None]:
        try:
            yield
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(
                f"'{self.path.name}' is a damaged gzip file ({error}); get it again"
            ) from error

    @contextmanager
    def _reading(self) -> Iterator[TextIO]:
        """The decoded lines, with their own ends."""
        lines = io.TextIOWrapper(self._bytes(), encoding=self.encoding, newline="")
        with lines, self._undamaged():
            try:
                yield lines
            except UnicodeError:
                raise self.undecodable() from None

    def undecodable(self) -> DataError:
        """The first byte that the encoding does not know, and its line."""
        decoder, line = codecs.getincrementaldecoder(self.encoding)(), 1
        with self._bytes() as file:
            while True:
                raw = file.read(_HEAD)
                try:
                    decoder.decode(raw, final=not raw)
                except UnicodeDecodeError as error:  # which holds what was left over before it too
                    line += error.object.count(b"\n", 0, error.start)
                    where = f"byte 0x{error.object[error.start]:02x} in line {line}"
                    break
                if not raw:
                    where = "its end"
                    break
                line += raw.count(b"\n")
        return DataError(
            f"'{self.path.name}' is not {self.encoding}: {where}; "
            "say what it is, e.g. --encoding cp1252 (Western Windows)"
        )


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


def _find_delimiter(lines: str) -> str:
    """The candidate that cuts most of the first lines into the same number of cells."""

    def evidence(delimiter: str) -> tuple[int, int]:
        sample = io.StringIO(lines, newline="")
        try:
            widths = [len(row) for row in islice(csv.reader(sample, delimiter=delimiter), 20)]
        except csv.Error:  # a cell beyond all bounds
            return 0, 0
        width, count = Counter(widths).most_common(1)[0]
        return (count if width > 1 else 0), width

    return max(_DELIMITERS, key=evidence)


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


def check_names(names: Sequence[Any], where: str) -> None:
    """Raise if two columns share a name."""
    twice = [str(name) for name, count in Counter(names).items() if count > 1 and name != ""]
    if twice:
        raise DataError(f"{where} has two columns named '{twice[0]}'; rename or remove one of them")

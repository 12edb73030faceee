"""A text table larger than memory, in blocks of whole rows."""

import csv
import io
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice, pairwise
from typing import Any, BinaryIO

from neurarium.data.errors import DataError
from neurarium.data.readers import TextTable

_BLOCK_BYTES = 2**23
_PIECE_CELLS = 2**18


class CsvBlocks:
    """A CSV or TSV file by ranges of whole rows, which one pass over it finds.

    A piece is a DataFrame of texts. That pass also sees that every line can be read.

    Args:
        table: how the file is written.

    Raises:
        DataError: if it cannot be read from the middle.
    """

    def __init__(self, table: TextTable) -> None:
        self.table, self.path = table, table.path
        self.notes = table.notes
        self.bytes = self.path.stat().st_size
        packed = self.path.suffix.lower() == ".gz"
        if packed or "\n".encode(table.encoding.removesuffix("-sig")) != b"\n":
            raise DataError(
                f"'{self.path.name}' is too large for the memory, and "
                f"{'compressed' if packed else table.encoding} text cannot be read in blocks; "
                f"{'unpack it' if packed else 'save it as utf-8'} or, better, as Parquet"
            )

    @property
    def rows(self) -> Sequence[int]:
        return self._blocks[1]

    @cached_property
    def _blocks(self) -> tuple[list[int], list[int]]:
        """Where each block begins (and the last ends), and the number of its rows."""
        position = 0

        def lines(file: BinaryIO) -> Iterator[str]:
            nonlocal position
            for line in file:
                position += len(line)
                yield self._decoded(line)

        starts, rows, count = [0], [], 0
        with self.path.open("rb") as file:
            found = self.table.cells(lines(file))
            if self.table.header:
                next(found)
                starts = [position]
            for _ in found:  # the parser takes no line before it is asked for a row
                count += 1
                if position - starts[-1] >= _BLOCK_BYTES:
                    starts.append(position)
                    rows.append(count)
                    count = 0
        return [*starts, *[position] * bool(count)], [*rows, *[count] * bool(count)]

    def _decoded(self, raw: bytes) -> str:
        try:
            return raw.decode(self.table.encoding)
        except UnicodeDecodeError:
            raise self.table.undecodable() from None

    def read(self, block: int) -> Iterator[Any]:
        start, end = list(pairwise(self._blocks[0]))[block]
        with self.path.open("rb") as file:
            file.seek(start)
            lines = io.StringIO(self._decoded(file.read(end - start)), newline="")
        cells = csv.reader(lines, delimiter=self.table.delimiter, strict=True)
        rows = (row for row in cells if row)
        at_once = max(1, _PIECE_CELLS // len(self.table.names))
        try:
            while piece := list(islice(rows, at_once)):
                yield self.table.frame(piece)
        except (csv.Error, ValueError):  # of other rows than the pass has seen
            raise DataError(
                f"'{self.path.name}' has changed since it was first read; begin again"
            ) from None

    def targets(self, block: int, names: Sequence[str]) -> Iterator[Any]:
        return self.read(block)

    def identity(self) -> str:
        return f"{self.bytes}:{self.table.names}:{self._blocks}"

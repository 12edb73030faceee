"""What a command says: to the terminal, to the run's log, and to a program that reads JSON."""

import io
import json
import math
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from neurarium.cli.failures import explain
from neurarium.cli.workers import is_first


class Output:
    """Lines for people; with `as_json` they go to standard error and stdout is for the result.

    Used as a context it also logs the error that ends it.
    """

    def __init__(self, as_json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        self.as_json, self.quiet, self.verbose = as_json, quiet, verbose
        self.stream: TextIO = sys.stderr if as_json else sys.stdout
        if not is_first():
            self.quiet, self.stream = True, io.StringIO()
        self.log = Log()

    def __enter__(self) -> "Output":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if error is not None:
            self.log.write(explain(error)[1] + "\n")

    def detail(self, line: str = "") -> None:
        """A line that `--quiet` leaves out."""
        if self.quiet:
            self.log.write(line + "\n")
        else:
            self.say(line)

    def say(self, line: str = "") -> None:
        """A line; on a terminal it breaks between words."""
        self.log.write(line + "\n")
        print(self._wrapped(line), file=self.stream, flush=True)

    def _wrapped(self, line: str) -> str:
        width = shutil.get_terminal_size().columns
        if not self.stream.isatty() or len(line) <= width:
            return line
        start = line[: len(line) - len(line.lstrip())]
        return textwrap.fill(
            line,
            width,
            subsequent_indent=start + "  ",
            break_long_words=False,
            break_on_hyphens=False,
        )

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table whose first column is words and whose others are figures."""
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
        for i, name in enumerate(header):
            table.add_column(name, justify="right" if i else "left")
        for row in rows:
            table.add_row(*map(Text, row))
        Console(file=self.log, width=100, color_system=None).print(table)  # type: ignore[arg-type]
        Console(file=self.stream).print(table)

    def columns(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Words in columns; the last is cut to the terminal, and whole in a file."""
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        width = shutil.get_terminal_size().columns if self.stream.isatty() else None
        for row in (header, *rows):
            cells = [f"{cell:{size}}" for cell, size in zip(row, widths, strict=True)]
            line = "  ".join(cells).rstrip()
            whole = width is None or len(line) <= width
            print(line if whole else line[: width - 1] + "…", file=self.stream)  # type: ignore

    def result(self, values: Mapping[str, Any]) -> None:
        """The one JSON object, last on standard output, if it was asked for."""
        if self.as_json and is_first():
            sys.stderr.flush()
            print(as_json(values), flush=True)


class Log(io.TextIOBase):
    """Keeps what is written until the run has a folder, then appends it to the file there."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.path: Path | None = None

    def attach(self, path: Path) -> None:
        """From now on append to this file, beginning with what was kept."""
        self.path = path
        self.write("".join(self.kept))

    def write(self, text: str) -> int:
        if self.path is None:
            self.kept.append(text)
        elif self.path.parent.is_dir():  # else the run was given up and its folder removed
            with self.path.open("a", encoding="utf-8") as file:
                file.write(text)
        return len(text)


def as_json(values: Any, indent: int | None = None) -> str:
    """JSON without NaN or infinity, which it does not know: they become null."""
    return json.dumps(_finite(values), indent=indent, ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

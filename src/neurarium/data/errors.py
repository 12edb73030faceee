"""The one error of everything a user's data can get wrong."""

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class DataError(ValueError):
    """The data cannot be used as it is: what was wrong, what was found, what to do."""


@contextmanager
def rows_after(start: int) -> Iterator[None]:
    """Let errors about a piece count its rows from the beginning of the file."""
    try:
        yield
    except DataError as error:
        said = re.sub(
            r"\bin row (\d+)", lambda found: f"in row {int(found[1]) + start}", str(error)
        )
        raise DataError(said) from error


def nearest(name: str, options: Iterable[str]) -> str:
    """What to try instead of `name`: the nearest options, else the first few, as prose."""
    options = [str(option) for option in options]
    lower = {option.lower(): option for option in options}
    close = difflib.get_close_matches(name.lower(), lower, n=3)
    if close:
        return "did you mean " + " or ".join(f"'{lower[c]}'" for c in close) + "?"
    return f"there is {listing(options)}"


def show(value: object) -> str:
    """The value as Python writes it, cut if long."""
    written = repr(value)
    return written if len(written) <= 40 else f"{written[:36]} ...{written[-1]}"


def listing(items: Iterable[object], most: int = 8) -> str:
    """'a, b, c and 5 more'."""
    words = [str(item) for item in items]
    if len(words) <= most:
        return ", ".join(words) or "nothing"
    return f"{', '.join(words[:most])} and {len(words) - most} more"

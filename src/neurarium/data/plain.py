"""Plain values from a file, checked against the types of whoever takes them."""

import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from neurarium.data.errors import DataError, show


def check_values(values: Any, taken_by: Any, what: str, **others: Any) -> dict[str, Any]:
    """The names and values themselves, if they are arguments of a function or a dataclass.

    Args:
        what: holds them; the error begins with it.
        others: types of further names that may occur.

    Raises:
        DataError: at the first name that is unknown, or value of another type.
    """
    if not isinstance(values, dict):
        raise DataError(f"{what} holds {show(values)} instead of names and values; it is damaged")
    hints = {**get_type_hints(taken_by), **others}
    for name, value in values.items():
        if get_origin(hints.get(name, ClassVar[str])) is ClassVar:
            raise DataError(f"{what} holds the unknown name {show(name)}; it is damaged")
        if not fits(value, hints[name]):
            raise DataError(f"{what} holds {name}: {show(value)}; it is damaged")
    return values


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain value is of this type; a list may stand for a tuple, as in JSON."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, each) for each in inner)
    if origin is Literal:
        return isinstance(value, str) and value in inner
    if hint is Any:
        return True
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, int | float)
    if hint is Path:
        return isinstance(value, str)
    kind = origin or hint
    if kind in (list, tuple, Sequence):
        each = inner[0] if inner else Any
        return isinstance(value, list | tuple) and all(fits(one, each) for one in value)
    return isinstance(value, dict if kind is Mapping else kind)

"""Rows of a table in the user's own values, and which of the network's inputs each column feeds."""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from neurarium.report.page import number


@dataclass(frozen=True)
class Column:
    """One column of the user's table.

    Args:
        positions: the network's inputs that it feeds: its numbers, its "is missing", its code.
    """

    name: str
    kind: str
    positions: tuple[int, ...]


def columns(preprocessing: Any, width: int) -> list[Column]:
    """The columns behind `width` inputs; without a fitted table each input is a column."""
    features = list(getattr(preprocessing, "features", ()))
    if len(features) != width:
        return [Column(f"input {i}", "numeric", (i,)) for i in range(width)]
    owners: dict[str, tuple[str, str]] = {}
    for column in getattr(preprocessing, "columns", ()):
        own = (column.name, column.kind)
        owners |= {f"{column.name} is missing": own} | dict.fromkeys(column.features, own)
    found: dict[tuple[str, str], list[int]] = {}
    for position, feature in enumerate(features):
        found.setdefault(owners.get(feature, (feature, "numeric")), []).append(position)
    return [Column(name, kind, tuple(places)) for (name, kind), places in found.items()]


def cells(preprocessing: Any, column: Column, row: Tensor) -> str:
    """What a row holds in this column, in the user's values; without a fitted table, the input."""
    numeric, words = (getattr(preprocessing, name, []) for name in ("numeric", "words"))
    if not numeric and not words:
        return ", ".join(number(float(row[i])) for i in column.positions)
    if column.kind == "category":
        return _word(next(c for c in words if c.name == column.name), int(row[column.positions[0]]))
    median, spread = preprocessing.median, preprocessing.spread
    numbers = [i for i in column.positions if i < len(median)]
    if any(row[i] > 0.5 for i in column.positions if i >= len(median)):
        return "missing"
    values = [_unbent(float(row[i]), float(median[i]), float(spread[i])) for i in numbers]
    return "yes" if values == ["1"] and column.kind == "boolean" else _joined(values, column.kind)


def _unbent(y: float, median: float, spread: float) -> str:
    """The number x behind y = z / sqrt(1 + (z/3)^2), z = (x - median) / spread.

    It has the digits that float32 left of it: fewer the farther out it lies.
    """
    room = 1 - (y / 3) ** 2
    if room < 1e-5:
        side = math.copysign(900, y)  # room is 1 / (1 + (z/3)^2), so |z| > 948
        return f"{'above' if y > 0 else 'below'} {median + side * spread:.3g}"
    x = median + spread * y / math.sqrt(room)
    error = spread * 1.2e-7 * max(abs(y), 1e-3) * room**-1.5 + 1e-15 * abs(median)
    digits = -math.ceil(math.log10(error)) if error > 0 else 12
    return f"{round(x, digits) + 0.0:.6g}"


def _joined(values: list[str], kind: str) -> str:
    if kind == "boolean" and values == ["0"]:
        return "no"
    if kind == "date" and len(values) >= 3:
        year, month, day = (int(float(v)) for v in values[:3])
        return f"{year:04d}-{month:02d}-{day:02d}"
    return ", ".join(values)


def _word(column: Any, code: int) -> str:
    return column.known[code - 1] if 0 < code <= len(column.known) else "(missing or rare)"

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
    owners = {f: (c.name, c.kind) for c in _known(preprocessing) for f in c.features}
    found: dict[tuple[str, str], list[int]] = {}
    for position, feature in enumerate(features):
        plain = feature.removesuffix(" is missing")
        owner = owners.get(feature) or owners.get(plain) or (feature, "numeric")
        found.setdefault(owner, []).append(position)
    return [Column(name, kind, tuple(places)) for (name, kind), places in found.items()]


def _known(preprocessing: Any) -> list[Any]:
    return list(getattr(preprocessing, "columns", ()))


def cells(preprocessing: Any, column: Column, row: Tensor) -> str:
    """What a row holds in this column, in the user's values; without a fitted table, the input."""
    numeric, words = (getattr(preprocessing, name, []) for name in ("numeric", "words"))
    if not numeric and not words:
        return ", ".join(number(float(row[i])) for i in column.positions)
    features = preprocessing.features
    if column.kind == "category":
        return _word(next(c for c in words if c.name == column.name), int(row[column.positions[0]]))
    values = []
    for i in column.positions:
        if features[i].endswith(" is missing") and i >= len(preprocessing.mean):
            if row[i] > 0.5:
                return "missing"
            continue
        values.append(_restored(float(row[i]), preprocessing.mean[i], preprocessing.std[i]))
    return "yes" if values == ["1"] and column.kind == "boolean" else _joined(values, column.kind)


def _restored(scaled: float, mean: float, std: float) -> str:
    """The number before standardization; float32 holds seven digits, the last is rounding."""
    digits = 6 - math.floor(math.log10(std)) if std > 0 else 6
    return f"{round(scaled * std + mean, digits) + 0.0:.6g}"


def _joined(values: list[str], kind: str) -> str:
    if kind == "boolean" and values == ["0"]:
        return "no"
    if kind == "date" and len(values) >= 3:
        year, month, day = (int(float(v)) for v in values[:3])
        return f"{year:04d}-{month:02d}-{day:02d}"
    return ", ".join(values)


def _word(column: Any, code: int) -> str:
    return column.known[code - 1] if 0 < code <= len(column.known) else "(missing or rare)"

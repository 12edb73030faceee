"""A section on sequences: whether long ones are answered as well as short ones."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from neurarium import metrics
from neurarium.data import Resident
from neurarium.report import figures
from neurarium.report.facts import Facts
from neurarium.report.page import Html, element, number, paragraph, percent, section, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["by_length", "length_groups", "right_of"]

_GROUPS, _LEAST = 5, 4  # so many groups at most, of so many rows at least in all


def by_length(facts: Facts) -> Html | None:
    """How good the answers are to rows of each length; None where rows have no lengths."""
    name = next((n for n in ("test", "val") if getattr(facts.data, n, None) is not None), None)
    split = getattr(facts.data, name or "", None)
    if name is None or not isinstance(split, Resident):
        return None
    if not {"length", "target"} <= split.tensors.keys():
        return None
    found = right_of(facts, split)
    length = split.tensors["length"].numpy()
    groups = length_groups(length)
    if found is None or len(groups) < 2:
        return None
    values, what, exact = found
    shares = what != "mean absolute error"
    shown = [_group(values[(low <= length) & (length <= high)], exact) for low, high in groups]
    text = percent if shares else number
    rows: list[list[object]] = [
        [
            _range(low, high),
            f"{count:,}",
            element("td", text(mean), class_="number"),
            "too few" if reach is None else f"{text(reach[0])} to {text(reach[1])}",
        ]
        for (low, high), (count, mean, reach) in zip(groups, shown, strict=True)
    ]
    names = [_range(*group) for group in groups]

    def plot(axes: "Axes") -> None:
        scale = 100 if shares else 1
        for place, (_, mean, reach) in enumerate(shown):
            if reach is not None:
                axes.plot([place, place], [scale * v for v in reach], color=figures.BLUE, lw=1.2)
            axes.plot(place, scale * mean, "o", color=figures.BLUE, ms=5)
        axes.set_xticks(range(len(names)), [n.replace(" to ", "–") for n in names])
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set(xlabel="length", ylabel=f"{what}, %" if shares else what)

    ends = f"{names[0]}: {text(shown[0][1])}; {names[-1]}: {text(shown[-1][1])}"
    alt = f"Chart of {what} by length, from {ends}."
    drawn = figures.draw("by-length", alt, "Lines: 95 % intervals", plot)
    how = "Wilson's intervals." if exact else "Intervals resample whole rows."
    return section(
        "By length",
        element("div", drawn, class_="figures"),
        table(
            f"{name.capitalize()} rows by length", ["length", "rows", what, "95 % interval"], rows
        ),
        paragraph(f"Groups hold about as many rows each. {how}", class_="soft"),
    )


def right_of(facts: Facts, split: Resident) -> tuple[np.ndarray, str, bool] | None:
    """A figure of each row, its name, and whether it is 0 or 1; None of what has no such figure."""
    target, main = split.tensors["target"], facts.main
    if main is not None and len(main) == len(split):
        if facts.task == "regression":
            return np.abs(main.predicted - main.target).mean(1), "mean absolute error", False
        right = main.predicted == main.target
        return (right if right.ndim == 1 else right.all(1)).astype(float), "accuracy", True
    if target.ndim != 2 or target.is_floating_point():
        return None
    output = facts.run.forward(split)  # a class for each step
    if output.shape[:2] != target.shape or output.ndim != 3:
        return None
    length = split.tensors["length"]
    real = (torch.arange(target.shape[1]) < length[:, None]) & (target >= 0)
    share = ((output.argmax(2) == target) & real).sum(1) / real.sum(1).clamp(min=1)
    return share.double().numpy(), "right steps", False


def length_groups(length: np.ndarray) -> list[tuple[int, int]]:
    """Shortest and longest of groups that hold about as many rows each; never one length in two."""
    if len(length) < _LEAST:
        return []
    ends = np.quantile(length, np.arange(1, _GROUPS + 1) / _GROUPS, method="inverted_cdf")
    groups, start = [], int(length.min())
    for end in np.unique(ends).astype(int).tolist():
        groups.append((int(length[length >= start].min()), end))
        start = end + 1
    return groups


def _group(values: np.ndarray, exact: bool) -> tuple[int, float, tuple[float, float] | None]:
    """How many rows, their mean, and its interval."""
    reach = (
        metrics.wilson(int(values.sum()), len(values))
        if exact
        else metrics.block_bootstrap(values, 1)
    )
    return len(values), float(values.mean()), reach


def _range(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low} to {high}"

"""A table and the name of its target become `Data`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neurarium.data.columns import Column, Numeric
from neurarium.data.data import Data
from neurarium.data.errors import DataError, listing, nearest
from neurarium.data.free_text import find_free_text, from_free_text
from neurarium.data.partition import partition
from neurarium.data.readers import check_names
from neurarium.data.schema import Types, infer_columns, parse_types
from neurarium.data.tables import Table, TablePreprocessing
from neurarium.data.targets import Target, infer_target, missing_rows
from neurarium.data.values import DataFrame

_TARGET_NAMES = ("target", "label", "labels", "class", "y", "outcome")

Columns = str | int | Sequence[str | int] | None


def from_table(
    table: Table,
    target: Columns,
    *,
    task: str | None,
    types: Types,
    split: Mapping[str, Any],
    name: str,
) -> Data:
    """Infer columns and task on the whole table, split it, fit on the training rows."""
    frame = table.frame.rename(columns=str)
    check_names(list(frame.columns), "the table")
    names, notes = find_targets(frame, target if target is not None else table.target)
    frame, kept = _complete_rows(frame, names, notes)
    goal, task_notes = infer_target(frame, names, task)
    if table.labels is not None and names == [table.target]:
        goal = Target(goal.names, goal.task, table.labels)
    if told := [one for one in names if one in parse_types(types)]:
        raise DataError(f"'{told[0]}' is the target: choose with --task, not --types")
    text = find_free_text(frame.drop(columns=names), types)
    if text is not None:
        return from_free_text(frame, text, goal, split, name, kept, [*notes, *task_notes])
    columns, column_notes = infer_columns(frame.drop(columns=names), types)
    frame = frame.assign(**{c.name: c.read(frame[c.name])[:, 0] for c in _numeric(columns)})
    classes = goal.codes(frame) if goal.labels is not None else None
    rows, split_notes = partition(len(frame), classes, **split)
    preprocessing = TablePreprocessing.fit(frame.iloc[rows["train"]], columns, goal)
    splits: dict[str, Any] = {
        key: preprocessing.transform(frame.iloc[index], with_target=True)
        for key, index in rows.items()
        if len(index)
    }
    return Data(
        **splits,
        task=goal.task,
        classes=goal.classes,
        preprocessing=preprocessing,
        name=name,
        notes=[*notes, *task_notes, *column_notes, *split_notes],
        indices={key: kept[index].tolist() for key, index in rows.items()},
    )


def _numeric(columns: list[Column]) -> list[Numeric]:
    """The columns whose text is parsed once for all, not again for each split."""
    return [column for column in columns if isinstance(column, Numeric)]


def find_targets(frame: DataFrame, target: Columns) -> tuple[list[str], list[str]]:
    """The names of the target columns, and a note if they were guessed."""
    columns = list(frame.columns)
    if target is None:
        if columns[-1].lower() in _TARGET_NAMES:
            return columns[-1:], [f"target: '{columns[-1]}' by its name (--target overrides)"]
        raise DataError(
            f"which column is to be predicted? name one with --target: {listing(columns, 30)}"
        )
    if isinstance(target, str) and target not in columns:
        target = [part.strip() for part in target.split(",")]
    wanted = [target] if isinstance(target, str | int) else list(target)
    return [_find_column(columns, one) for one in wanted], []


def _find_column(columns: list[str], target: str | int) -> str:
    if str(target) in columns:
        return str(target)
    try:
        return columns[int(target)]
    except (ValueError, IndexError):
        raise DataError(
            f"there is no column '{target}' to predict; {nearest(str(target), columns)}"
        ) from None


def _complete_rows(
    frame: DataFrame, names: list[str], notes: list[str]
) -> tuple[DataFrame, np.ndarray]:
    """The rows whose target is known, and their numbers in the source."""
    missing = missing_rows(frame, names)
    kept = np.flatnonzero(~missing)
    if not len(kept):
        raise DataError(f"target {listing(names)} is missing in every row; name another --target")
    if missing.any():
        notes.append(f"left out {missing.sum()} rows whose target is missing")
        frame = frame.iloc[kept]
    return frame, kept

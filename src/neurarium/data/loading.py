"""`load`: a name, a file, a folder or a frame becomes `Data`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neurarium.data.arrays import ArrayPreprocessing, as_input, codes_of, read_npz
from neurarium.data.data import Data
from neurarium.data.errors import DataError, listing, nearest
from neurarium.data.named import NAMED, Arrays, Table
from neurarium.data.partition import partition
from neurarium.data.readers import Header, check_names, read_table
from neurarium.data.scale import Standardize
from neurarium.data.schema import Types, infer_columns
from neurarium.data.tables import TablePreprocessing
from neurarium.data.targets import Target, infer_target, missing_rows, target_of
from neurarium.data.values import DataFrame

_TARGET_NAMES = ("target", "label", "labels", "class", "y", "outcome")


def load(
    source: Any,
    target: str | int | Sequence[str] | None = None,
    *,
    task: str | None = None,
    types: Types = None,
    header: Header = "auto",
    test_size: float = 0.2,
    val_size: float = 0.2,
    seed: int = 0,
    encoding: str = "utf-8",
    delimiter: str | None = None,
) -> Data:
    """Read, understand, split and prepare a data set; everything fitted on the training rows.

    What was inferred is told in the result's `notes`.

    Args:
        source: a name ("digits"), a path (CSV, TSV, Parquet, .npz) or a DataFrame.
        target: the column to predict, by name or position; several as a list or "a,b".
        task: "binary", "multiclass", "multilabel" or "regression" instead of the inferred one.
        types: kinds of columns where the inferred ones are wrong, "zip=category,id=drop".
        header: whether the first line of a text file names the columns.
        test_size: fraction of the rows kept for the test (unless the set has its own).
        val_size: fraction of the remaining rows kept for validation.
        seed: of both splits.
        encoding: of a text file.
        delimiter: of a text file; found if not given.

    Raises:
        DataError: for anything wrong with the data.
    """
    options = {
        "target": target,
        "task": task,
        "types": types if types is None or isinstance(types, str) else dict(types),
        "header": header,
        "test_size": test_size,
        "val_size": val_size,
        "seed": seed,
        "encoding": encoding,
        "delimiter": delimiter,
    }
    split = {"test_size": test_size, "val_size": val_size, "seed": seed}
    if hasattr(source, "iloc"):
        table = Table(source.rename(columns=str), "")
        return _from_table(table, target, task, types, split, name="table")
    name, found, notes = _read(source, header, encoding, delimiter)
    if isinstance(found, Table):
        data = _from_table(found, target, task, types, split, name=name)
    else:
        data = _from_arrays(found, task, split, name=name)
    data.notes[:0] = notes
    again = source if source in NAMED else str(Path(source).resolve())
    data.source = {"source": again, **options}
    return data


def _read(
    source: Any, header: Header, encoding: str, delimiter: str | None
) -> tuple[str, Table | Arrays, list[str]]:
    if source in NAMED:
        return source, NAMED[source](), []
    path = Path(source)
    if not path.exists():
        raise DataError(_not_found(path))
    if path.suffix.lower() == ".npz":
        arrays = read_npz(path)
        wanted = {name: arrays.get(name) for name in ("x", "y", "x_test", "y_test")}
        return path.stem, Arrays(**wanted), []  # type: ignore[arg-type]
    frame, notes = read_table(path, header=header, encoding=encoding, delimiter=delimiter)
    return path.stem, Table(frame, ""), notes


def _not_found(path: Path) -> str:
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    return f"there is no file, folder or data set '{path}'; {nearest(path.name, [*NAMED, *beside])}"


def _from_table(
    table: Table,
    target: str | int | Sequence[str] | None,
    task: str | None,
    types: Types,
    split: Mapping[str, Any],
    name: str,
) -> Data:
    frame = table.frame
    check_names(list(frame.columns), "the table")
    names, notes = find_targets(frame, target or table.target or None)
    frame, kept = _complete_rows(frame, names, notes)
    goal, more = infer_target(frame, names, task)
    if table.labels is not None:
        goal = Target(goal.names, goal.task, table.labels)
    columns, about = infer_columns(frame.drop(columns=names), types)
    codes = goal.codes(frame)
    classes = codes if goal.labels is not None else None
    rows, warnings = partition(len(frame), classes, **split)
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
        notes=[*notes, *more, *about, *warnings],
        indices={key: kept[index].tolist() for key, index in rows.items()},
    )


def find_targets(
    frame: DataFrame, target: str | int | Sequence[str] | None
) -> tuple[list[str], list[str]]:
    """The names of the target columns, and a note if they were guessed."""
    columns = list(frame.columns)
    if target is None:
        if str(columns[-1]).lower() in _TARGET_NAMES:
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


def _from_arrays(arrays: Arrays, task: str | None, split: Mapping[str, Any], name: str) -> Data:
    goal = _array_target(arrays.y, task)
    codes = codes_of(arrays.y, goal)
    classes = codes if goal.labels is not None else None
    own_test = arrays.x_test is not None
    split = {**split, "test_size": 0.0} if own_test else split
    rows, warnings = partition(len(arrays.x), classes, **split)
    dtype = "uint8" if arrays.x.dtype == np.uint8 else "float32"
    x = as_input(arrays.x, arrays.x.shape[1:], dtype)
    goal = goal.fit(codes[rows["train"]])
    splits: dict[str, Any] = {k: (x[i], goal.encode(codes[i])) for k, i in rows.items() if len(i)}
    if own_test:
        x_test = as_input(arrays.x_test, tuple(x.shape[1:]), dtype)
        splits["test"] = (x_test, goal.encode(codes_of(arrays.y_test, goal)))
        rows["test"] = np.arange(len(x_test))
    return Data(
        **splits,
        task=goal.task,
        classes=goal.classes,
        preprocessing=ArrayPreprocessing(tuple(x.shape[1:]), dtype, goal),
        transform=Standardize.fit(splits["train"][0]),
        name=name,
        notes=[*arrays.notes, *warnings],
        indices={key: index.tolist() for key, index in rows.items()},
    )


def _array_target(y: np.ndarray, task: str | None) -> Target:
    if y.ndim > 1 and y.shape[1] > 1:
        names = tuple(f"target_{i}" for i in range(y.shape[1]))
        flags = np.isin(y, (0, 1)).all() and task != "regression"
        return Target(names, "multilabel" if flags else "regression")
    return target_of(y.reshape(-1).tolist(), "y", task)

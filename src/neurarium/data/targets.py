"""What is to be predicted: the task, the labels in the user's own values, and the way back."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from neurarium.data.data import Task
from neurarium.data.errors import DataError, listing, nearest, show
from neurarium.data.plain import check_values
from neurarium.data.values import DataFrame, Series, is_number, is_numeric, numbers, text, texts

Label = bool | int | float | str

_MOST_CLASSES = 20  # distinct integers that still look like classes
_MANY_ROWS = 20


@dataclass(frozen=True)
class Target:
    """The target columns of a problem.

    Args:
        names: the columns; several for multilabel and multi-output regression.
        labels: the user's own value of each class, in order of code; None for regression.
        mean, std: of each regression output on the training rows; outputs are standardized.
    """

    names: tuple[str, ...]
    task: Task
    labels: tuple[Label, ...] | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def classes(self) -> list[str] | None:
        """Names of classes (of labels, if multilabel); None for regression."""
        if self.task == "multilabel":
            return list(self.names)
        return None if self.labels is None else [str(label) for label in self.labels]

    def fit(self, values: np.ndarray) -> "Target":
        """The same target, standardized by these training rows if it is a regression."""
        if self.task != "regression":
            return self
        values = values.reshape(len(values), -1).astype(np.float64)
        std = values.std(0)
        for name, spread in zip(self.names, std, strict=True):
            if spread == 0:
                raise DataError(
                    f"target '{name}' has the same value in every training row; "
                    "there is nothing to learn, name another --target"
                )
        return replace(self, mean=tuple(values.mean(0).tolist()), std=tuple(std.tolist()))

    def codes(self, frame: DataFrame) -> np.ndarray:
        """Class codes (N,), 0/1 labels (N, L) or raw outputs (N, outputs) of these rows."""
        if self.task == "regression":
            return np.stack([_complete(frame[name]) for name in self.names], 1)
        if self.task == "multilabel":
            return np.stack([_flags(frame[name]) for name in self.names], 1)
        return self._class_codes(frame[self.names[0]])

    def _class_codes(self, series: Series) -> np.ndarray:
        assert self.labels is not None
        code = {_key(label): i for i, label in enumerate(self.labels)}
        keys = [_key(value) for value in _typed(texts(series), type(self.labels[0]))]
        for row, key in enumerate(keys):
            if key not in code:
                found, known = show(series.tolist()[row]), listing(map(show, self.labels))
                raise DataError(
                    f"target '{series.name}' is {found} in row {row + 1}, not one of the classes "
                    f"trained on ({known}); correct or remove it"
                )
        return np.array([code[key] for key in keys], dtype=np.int64)

    def encode(self, values: np.ndarray) -> Tensor:
        """`codes` as the tensor a loss wants: int64 classes, float labels or outputs."""
        if self.task == "regression":
            columns = values.reshape(len(values), -1)
            return torch.from_numpy((columns - self.mean) / self.std).float()
        return torch.from_numpy(values).to(
            torch.float32 if self.task == "multilabel" else torch.int64
        )

    def decode(self, output: Tensor) -> np.ndarray:
        """A network's output as labels, 0/1 columns or units of the user's own data."""
        array = output.detach().cpu().double().numpy()
        if self.task == "regression":
            units = array.reshape(len(array), -1) * self.std + self.mean
            return units[:, 0] if len(self.names) == 1 else units
        if self.task == "multilabel":
            return (array > 0).astype(np.int64)
        return np.array(self.labels)[array.argmax(-1)]

    def to_json(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "task": self.task,
            "labels": None if self.labels is None else list(self.labels),
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Target":
        arguments: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in check_values(values, cls, "the target").items()
        }
        target = cls(**arguments)
        classes = target.task in ("binary", "multiclass")
        outputs = len(target.names) if target.task == "regression" else 0
        if classes != bool(target.labels) or {len(target.mean), len(target.std)} != {outputs}:
            raise DataError(f"the target is damaged: labels or scales do not fit {target.task}")
        return target


def infer_target(
    frame: DataFrame, names: Sequence[str], task: str | None = None
) -> tuple[Target, list[str]]:
    """The target of a complete table (no cell missing), and a note on the task inferred.

    Words and a few integers are classes, other numbers a regression; several 0/1 columns are a
    multilabel problem, several numeric ones a regression with several outputs.
    """
    if len(names) > 1:
        return _infer_several(frame, names, task)
    series = frame[names[0]]
    values = own_values(series)
    target = target_of(values, names[0], task)
    if task is not None:
        return target, []
    other = "--task multiclass" if target.task == "regression" else "--task"
    return target, [f"task: {describe(target)} ({other} overrides)"]


def describe(target: Target) -> str:
    """'binary, 'y' has 2 classes: 'no', 'yes''."""
    if target.labels is None:
        return f"{target.task} of {listing(map(show, target.names))}"
    classes = listing(map(show, target.labels), 5)
    return f"{target.task}, '{target.names[0]}' has {len(target.labels)} classes: {classes}"


def target_of(values: Sequence[Label], name: str = "target", task: str | None = None) -> Target:
    """The target whose rows have these values; the task is inferred unless told."""
    counts = Counter(values)
    task = _check_task(task, name) or _infer_task(values, counts)
    if len(counts) < 2:
        raise DataError(
            f"target '{name}' holds one value only ({show(values[0])}); there is nothing to learn, "
            "add rows of another class or name another --target"
        )
    if task == "multilabel":
        raise DataError(
            f"multilabel needs several 0/1 target columns, got only '{name}'; "
            "name them all: --target a,b,c"
        )
    if task == "regression":
        if isinstance(values[0], str):
            word = next(value for value in values if not is_number(str(value)))
            raise DataError(
                f"regression needs numbers, but target '{name}' holds {show(word)}; "
                "correct the cells or use --task multiclass"
            )
        return Target((name,), "regression")
    _check_classes(counts, name)
    if task == "binary" and len(counts) != 2:
        raise DataError(
            f"binary needs two classes, target '{name}' has {len(counts)}; use --task multiclass"
        )
    return Target((name,), "binary" if len(counts) == 2 else "multiclass", tuple(sorted(counts)))


def _check_task(task: str | None, name: str) -> str | None:
    if task == "classification":
        return "multiclass"
    if task is not None and task not in get_args(Task):
        raise DataError(f"there is no task '{task}'; {nearest(task, get_args(Task))}")
    return task


def _infer_task(values: Sequence[Label], counts: Counter[Label]) -> str:
    if isinstance(values[0], bool | str):
        return "multiclass"
    whole = all(isinstance(value, int) for value in counts)
    few = len(counts) <= _MOST_CLASSES and len(values) >= 2 * len(counts)
    return "multiclass" if whole and few else "regression"


def _check_classes(counts: Counter[Label], name: str) -> None:
    rows = sum(counts.values())
    if rows >= _MANY_ROWS and len(counts) > rows / 2:
        strays = [v for v in counts if isinstance(v, str) and not is_number(v)]
        numeric = len(strays) < len(counts) / 2
        hint = f"all but {listing(map(show, strays), 3)} are numbers: correct them" * numeric
        raise DataError(
            f"target '{name}' has {len(counts)} different values in {rows} rows, too many to be "
            f"classes; {hint or 'it looks like an id or free text, name another --target'}"
        )
    alone = [value for value, count in counts.items() if count == 1]
    if alone:
        raise DataError(
            f"class {show(alone[0])} of target '{name}' has a single row, which cannot both train "
            "and test; add rows of it, remove it, or merge it into another class"
            + (f" (so has {listing(map(show, alone[1:]), 3)})" if len(alone) > 1 else "")
        )


def _infer_several(
    frame: DataFrame, names: Sequence[str], task: str | None
) -> tuple[Target, list[str]]:
    columns = {name: set(own_values(frame[name])) for name in names}
    flags = all(values <= {0, 1} for values in columns.values())
    found: Task = "multilabel" if flags and task != "regression" else "regression"
    for name, values in columns.items():
        if any(isinstance(value, str) for value in values):
            raise DataError(
                f"several targets must all be 0/1 or all be numbers, but '{name}' holds words "
                f"({listing(map(show, sorted(map(str, values))), 3)}); predict it alone"
            )
    if _check_task(task, names[0]) not in (None, found):
        raise DataError(
            f"the targets {listing(names)} make a {found} problem, not {task}; leave --task out"
        )
    if task is not None:
        return Target(tuple(names), found), []
    target = Target(tuple(names), found)
    return target, [f"task: {describe(target)} (--task overrides)"]


def own_values(series: Series) -> list[Label]:
    """The values of a complete column as bools, ints, floats or, if any is a word, as texts."""
    words = [str(word) for word in texts(series)]
    if not is_numeric(series):
        if {word.lower() for word in words} <= {"true", "false"}:
            return _typed(words, bool)
        if not all(map(is_number, words)):
            return list(words)
    elif series.dtype.kind == "b":
        return _typed(words, bool)
    values = numbers(series)
    return values.astype(np.int64).tolist() if _whole(values) else values.tolist()


def _whole(values: np.ndarray) -> bool:
    return bool(((values == np.floor(values)) & (np.abs(values) < 2**53)).all())


def _typed(words: Sequence[str | None], kind: type) -> list[Any]:
    """The words as values of one kind; a word that is none stays a word."""
    if kind is bool:
        truth: dict[str, bool | int] = {"true": True, "false": False, "1": True, "0": False}
        return [truth.get(str(word).lower(), word) for word in words]
    if kind is str:
        return list(words)
    return [float(w) if w is not None and is_number(w) else w for w in words]


def _key(value: Any) -> Any:
    return float(value) if isinstance(value, bool | int | float) else value


def _complete(series: Series) -> np.ndarray:
    values = numbers(series)
    if np.isnan(values).any():
        row = int(np.isnan(values).argmax()) + 1
        raise DataError(f"target '{series.name}' is missing in row {row}; remove the row")
    return values


def _flags(series: Series) -> np.ndarray:
    from neurarium.data.columns import Boolean

    values = Boolean(str(series.name)).read(series)[:, 0]
    if not np.isin(values, (0, 1)).all():
        row = int((~np.isin(values, (0, 1))).argmax()) + 1
        raise DataError(f"target '{series.name}' is not 0 or 1 in row {row}; correct it")
    return values


def missing_rows(frame: DataFrame, names: Sequence[str]) -> np.ndarray:
    """Which rows lack any of the target columns."""
    absent = [[text(value) is None for value in frame[name].tolist()] for name in names]
    return np.logical_or.reduce(np.array(absent))

"""The data sets everyone knows, by name."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neurarium.data.values import DataFrame


@dataclass(frozen=True)
class Table:
    """A frame, its target column and, where classes have an order of their own, that order."""

    frame: DataFrame
    target: str
    labels: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class Arrays:
    """Inputs and labels; the test rows where the set brings its own."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray | None = None
    y_test: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)


def _bundled(name: str) -> Callable[[], Table]:
    """A table that comes with scikit-learn, its classes as words in scikit-learn's order."""

    def read() -> Table:
        from sklearn import datasets

        bunch = getattr(datasets, f"load_{name}")(as_frame=True)
        frame = bunch.frame
        if "target_names" not in bunch:
            return Table(frame, "target")
        labels = tuple(map(str, bunch.target_names))
        words = np.array(labels, dtype=object)[bunch.target.to_numpy()]
        return Table(frame.assign(target=words), "target", labels)

    return read


def digits() -> Arrays:
    """1,797 handwritten digits of 8 x 8 pixels with values 0 to 16."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return Arrays(bunch.images.astype(np.uint8)[:, None], bunch.target)


NAMED: dict[str, Callable[[], Table | Arrays]] = {
    "digits": digits,
    "wine": _bundled("wine"),
    "breast_cancer": _bundled("breast_cancer"),
    "diabetes": _bundled("diabetes"),
    "iris": _bundled("iris"),
}

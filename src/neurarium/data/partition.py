"""Which rows train, validate and test."""

from typing import Any

import numpy as np

from neurarium.data.errors import DataError

LEAST_ROWS = 10


def partition(
    rows: int,
    labels: np.ndarray | None,
    *,
    test_size: float = 0.2,
    val_size: float = 0.2,
    seed: int = 0,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Row numbers of train, val and test, and notes.

    The test rows are exactly those of scikit-learn's `train_test_split(np.arange(rows),
    test_size=test_size, random_state=seed, stratify=labels)`, so that anyone can rebuild them.
    The validation rows are taken from the others in the same way with the same seed.

    Args:
        labels: classes whose shares every split keeps; None for regression. Where a class has
            too few rows for that, the split is plain and a note says so.
        val_size: fraction of the rows that are not test rows.
    """
    check_sizes(test_size, val_size)
    if rows < LEAST_ROWS:
        raise DataError(
            f"{rows} rows are too few to train, validate and test; "
            f"at least {LEAST_ROWS} are needed, hundreds are better"
        )
    notes: list[str] = []
    rest, test = _part(np.arange(rows), labels, test_size, seed, "test", notes)
    train, val = _part(rest, labels, val_size, seed, "validation", notes)
    return {"train": train, "val": val, "test": test}, notes


def check_sizes(test_size: float, val_size: float) -> None:
    """Raise unless both are fractions."""
    for name, size in (("test_size", test_size), ("val_size", val_size)):
        if not 0 <= size < 1:
            raise DataError(f"{name} must be a fraction of the rows from 0 up to 1, got {size}")


def _part(
    index: np.ndarray, labels: np.ndarray | None, size: float, seed: int, name: str, notes: Any
) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.model_selection import train_test_split

    if size == 0:
        return index, index[:0]
    if labels is not None:
        try:
            kept, taken = train_test_split(
                index, test_size=size, random_state=seed, stratify=labels[index]
            )
            return kept, taken
        except ValueError:  # a class has one row only, or there are more classes than rows
            notes.append(
                f"some class is too small for the {name} rows to keep the shares of the classes; "
                "they were drawn without regard to class (more rows of it would help)"
            )
    kept, taken = train_test_split(index, test_size=size, random_state=seed)
    return kept, taken

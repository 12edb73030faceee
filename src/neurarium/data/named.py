"""The data sets everyone knows, by name."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from neurarium.data.arrays import Arrays
from neurarium.data.errors import DataError
from neurarium.data.from_text import Text, read_text
from neurarium.data.idx import read_idx_folder
from neurarium.data.mnist import FASHION_CLASSES, folder_of
from neurarium.data.tables import Table


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


def _mnist(name: str, labels: tuple[str, ...] | None = None) -> Callable[[], Arrays]:
    def read() -> Arrays:
        return replace(read_idx_folder(folder_of(name)), labels=labels)

    return read


def _own_file(folder: str, file: str, advice: str) -> Path:
    """A file that the user has below `$NEURARIUM_DATA`.

    Raises:
        DataError: if it is not there; it says what to do.
    """
    root = os.environ.get("NEURARIUM_DATA")
    path = Path(root or ".") / folder / file
    if root is None or not path.is_file():
        raise DataError(
            f"{advice} into a folder '{folder}' and set NEURARIUM_DATA to the folder above, or "
            "name it yourself"
        )
    return path


def _cora() -> Path:
    """Cora's Planetoid files, by one of them: `$NEURARIUM_DATA/planetoid/ind.cora.graph`."""
    advice = "cora is not downloaded: put its files ind.cora.*"
    return _own_file("planetoid", "ind.cora.graph", advice)


def _shakespeare() -> Text:
    """A million characters of plays: `$NEURARIUM_DATA/tinyshakespeare/input.txt`."""
    advice = "shakespeare is not downloaded: put char-rnn's input.txt"
    return Text(read_text(_own_file("tinyshakespeare", "input.txt", advice)))


NAMED: dict[str, Callable[[], Table | Arrays | Text | Path]] = {
    "digits": digits,
    "wine": _bundled("wine"),
    "breast_cancer": _bundled("breast_cancer"),
    "diabetes": _bundled("diabetes"),
    "iris": _bundled("iris"),
    "cora": _cora,
    "mnist": _mnist("mnist"),
    "shakespeare": _shakespeare,
    "fashion_mnist": _mnist("fashion_mnist", FASHION_CLASSES),
}

"""A table with a column of free text becomes `Data`: words in order, as many as each row has."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurarium.data.columns import Category
from neurarium.data.data import Data
from neurarium.data.errors import DataError, listing, nearest
from neurarium.data.partition import partition
from neurarium.data.schema import Types, infer_columns, is_free_text, parse_types
from neurarium.data.targets import Target
from neurarium.data.tokens import Words
from neurarium.data.values import DataFrame, texts

__all__ = ["FreeTextPreprocessing", "find_free_text", "from_free_text"]

_LONGEST = 400  # words of a row that are read; a recurrent network forgets the first long before


class FreeTextPreprocessing:
    """Rows of text as numbers of their words, and what is predicted of them.

    Args:
        column: name of the text's column.
        words: the vocabulary, fitted on the training rows.
        target: what is predicted.
    """

    def __init__(self, column: str, words: Words, target: Target | None = None) -> None:
        self.column, self.words, self.target = column, words, target

    @property
    def features(self) -> list[str]:
        return [self.column]

    @property
    def columns(self) -> list[Category]:
        """What is read of a table."""
        return [Category(self.column)]

    @property
    def vocabulary(self) -> int:
        """How many words are told apart, that for unknown ones included."""
        return self.words.vocab

    @property
    def classes(self) -> list[str] | None:
        return None if self.target is None else self.target.classes

    def transform(self, source: Any, with_target: bool = False) -> dict[str, Tensor]:
        """Raw rows as `input`, words padded with 0, and `length` (and `target`, if asked).

        Args:
            source: a DataFrame with the text's column, a row as a mapping, a list of those, or a
                text or a list of texts.

        Raises:
            DataError: if the column is absent or the target cannot be read.
        """
        frame = self._frame(source)
        rows = [self.words.encode(text or "")[:_LONGEST] for text in texts(frame[self.column])]
        length = torch.tensor([len(row) for row in rows])
        tokens = torch.zeros(len(rows), max(1, int(length.max())), dtype=torch.int64)
        for place, row in zip(tokens, rows, strict=True):
            place[: len(row)] = torch.tensor(row)
        batch = {"input": tokens, "length": length}
        if with_target:
            assert self.target is not None
            if absent := [name for name in self.target.names if name not in frame.columns]:
                raise DataError(
                    f"the table lacks the column(s) {listing(absent)}; "
                    f"{nearest(absent[0], frame.columns)}"
                )
            batch["target"] = self.target.encode(self.target.codes(frame))
        return batch

    def _frame(self, source: Any) -> DataFrame:
        import pandas as pd

        if isinstance(source, str):
            source = [source]
        if isinstance(source, pd.DataFrame):
            frame = source.rename(columns=str)
        elif isinstance(source, Mapping):
            frame = pd.DataFrame([source])
        elif isinstance(source, Sequence) and source and isinstance(source[0], Mapping):
            frame = pd.DataFrame(list(source))
        else:
            frame = pd.DataFrame({self.column: list(source)})
        if not len(frame):
            raise DataError("there are no rows to transform; pass at least one")
        if self.column not in frame.columns:
            raise DataError(
                f"the table lacks the column '{self.column}', whose text was trained on; "
                f"{nearest(self.column, frame.columns)}"
            )
        return frame

    def decode(self, output: Tensor) -> np.ndarray:
        """A network's output in the user's own labels or units."""
        assert self.target is not None
        return self.target.decode(output)

    def to_json(self) -> dict[str, Any]:
        """Everything fitted, as plain values."""
        return {
            "kind": "free_text",
            "column": self.column,
            "words": self.words.to_json(),
            "target": None if self.target is None else self.target.to_json(),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "FreeTextPreprocessing":
        target = None if values["target"] is None else Target.from_json(values["target"])
        return cls(str(values["column"]), Words.from_json(values["words"]), target)


def find_free_text(frame: DataFrame, types: Types) -> str | None:
    """The column of free text that is to be learnt from; None if the table is one of cells.

    One that `types` calls text; else the only one, where nothing else is left to learn from.

    Raises:
        DataError: if `types` names several, or one that is none.
    """
    told = parse_types(types)
    said = [name for name, kind in told.items() if kind == "text"]
    if len(said) > 1:
        raise DataError(
            f"one column of text can be read, and --types names {listing(said)}; join them in one"
        )
    if said:
        if said[0] not in frame.columns:
            raise DataError(
                f"--types names a column '{said[0]}', which the table does not have; "
                + nearest(said[0], frame.columns)
            )
        return said[0]
    wordy = [name for name in frame.columns if name not in told and is_free_text(frame[name])]
    if len(wordy) != 1:
        return None
    rest = frame.drop(columns=wordy)
    try:
        return None if rest.shape[1] and infer_columns(rest, types)[0] else wordy[0]
    except DataError:  # nothing is left to learn from
        return wordy[0]


def from_free_text(
    frame: DataFrame,
    column: str,
    goal: Target,
    split: Mapping[str, Any],
    name: str,
    kept: np.ndarray,
    notes: Sequence[str],
) -> Data:
    """Split the rows, fit the vocabulary on the training rows, number the words.

    Args:
        goal: the target of the whole table.
        kept: numbers of the frame's rows in the source.
    """
    classes = goal.codes(frame) if goal.labels is not None else None
    rows, split_notes = partition(len(frame), classes, **split)
    train = frame.iloc[rows["train"]]
    counts = Counter(word for text in texts(train[column]) for word in Words.of(text or ""))
    if not counts:
        raise DataError(f"'{column}' holds no words in any training row; name another column")
    prepared = FreeTextPreprocessing(column, Words.fit(counts), goal.fit(goal.codes(train)))
    splits: dict[str, Any] = {
        key: prepared.transform(frame.iloc[index], with_target=True)
        for key, index in rows.items()
        if len(index)
    }
    others = [n for n in frame.columns if n != column and n not in goal.names]
    cut = sum(int((one["length"] == _LONGEST).sum()) for one in splits.values())
    return Data(
        **splits,
        task=goal.task,
        classes=goal.classes,
        preprocessing=prepared,
        name=name,
        notes=[
            *notes,
            f"text: '{column}', {prepared.vocabulary:,} words (--types NAME=text chooses)",
            *([f"left out {listing(others)}: a text is read alone"] * bool(others)),
            *([f"{cut} texts are read up to their word {_LONGEST}"] * bool(cut)),
            *split_notes,
        ],
        indices={key: kept[index].tolist() for key, index in rows.items()},
    )

"""The rows of a trial: drawn by its seed, the same for every arm; none of them is a test row."""

from typing import Any

from neurarium.data import Data, Resident
from neurarium.data.splits import joined

_VALIDATION_SHARE = 0.2


def drawn_by_us(data: Data) -> bool:
    """Whether the validation rows were drawn from the training rows, and not given as such."""
    if not (_each_by_itself(data.train) and _each_by_itself(data.val)):
        return False
    rows = data.indices or {}
    return "val" in rows and set(rows["val"]).isdisjoint(rows["train"])


def _each_by_itself(split: Any) -> bool:
    """Whether rows may be drawn at random; windows of a series share steps, nodes share edges."""
    return type(split) is Resident


def without_test(data: Data) -> Data:
    """The same data, but no test rows."""
    return data.with_splits(data.train, data.val)


def with_validation(data: Data, seed: int) -> Data:
    """A fifth of the training rows put aside."""
    assert isinstance(data.train, Resident)
    if not _each_by_itself(data.train):
        raise ValueError(
            "arms are compared by validation rows, which cannot be drawn at random from a series, "
            "a text or a graph; load it with val_size above 0"
        )
    kept, aside = _parted(data.train, round(_VALIDATION_SHARE * len(data.train)), seed)
    found = data.with_splits(kept, aside)
    found.test = data.test
    return found


def split_again(data: Data, seed: int) -> Data:
    """Other rows of the same number to validate on."""
    assert isinstance(data.train, Resident)
    assert isinstance(data.val, Resident)
    train, val = data.train.tensors, data.val.tensors
    whole = Resident({name: joined(train[name], val[name]) for name in train})
    return data.with_splits(*_parted(whole, len(data.val), seed))


def share(data: Data, fraction: float, seed: int) -> Data:
    """Training on a part of the rows."""
    if not isinstance(data.train, Resident):
        raise ValueError("a fraction of the training rows needs them in memory, got a stream")
    if not _each_by_itself(data.train):
        raise ValueError(
            "a fraction of the training rows is drawn at random, which those of a series, a text "
            "or a graph cannot be"
        )
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be a share of the training rows up to 1, got {fraction}")
    rows = round(fraction * len(data.train))
    if fraction == 1:
        return data
    if rows < 2:
        raise ValueError(f"fraction={fraction} leaves {rows} of {len(data.train)} training rows")
    return data.with_splits(_parted(data.train, rows, seed)[1], data.val)


def _parted(split: Resident, count: int, seed: int) -> tuple[Resident, Resident]:
    """The other rows, and `count` of them drawn so that classes keep their shares."""
    from sklearn.model_selection import train_test_split

    target = split.tensors.get("target")
    labels = None
    if target is not None and target.ndim == 1 and not target.is_floating_point():
        labels = target.cpu().numpy()
    numbers = list(range(len(split)))
    try:
        parts = train_test_split(numbers, test_size=count, random_state=seed, stratify=labels)
    except ValueError:  # a class has one row only, or there are more classes than rows
        parts = train_test_split(numbers, test_size=count, random_state=seed)
    rest, drawn = (
        Resident({name: value[sorted(part)] for name, value in split.tensors.items()})
        for part in parts
    )
    return rest, drawn

"""Data: three splits and what is known of them."""

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from neurarium.data.splits import Resident, Split, as_split

Task = Literal["binary", "multiclass", "multilabel", "regression"]
Augmentation = Callable[[dict[str, Tensor]], dict[str, Tensor]]
_HASHED_BYTES = 64 * 2**20


@runtime_checkable
class Preprocessing(Protocol):
    """What turns a user's raw rows into tensors, fitted on the training rows, and back."""

    @property
    def features(self) -> list[str]: ...

    def transform(self, source: Any, with_target: bool = False) -> dict[str, Tensor]: ...
    def decode(self, output: Tensor) -> np.ndarray: ...
    def to_json(self) -> dict[str, Any]: ...


class Data:
    """Training, validation and test splits of one problem.

    Each split is a pair (x, y) or a mapping of tensors or arrays of equal length, which stays in
    memory whole, or any Dataset, DataLoader or iterable of batches.

    Args:
        task: "binary", "multiclass", "multilabel" or "regression"; told from the target's type
            where it is not given.
        classes: name of each class, by its number.
        preprocessing: what made the tensors out of the user's rows, fitted on `train`.
        transform: module applied to `batch["input"]` on the device, e.g. `data.Standardize`.
        augment: function of a training batch giving another, before `transform`, e.g.
            `data.augment.Compose`; never applied when judging.
        notes: lines on what was inferred, each naming the flag that overrides it.
        source: how `data.load` can make the same splits again.
        indices: the row numbers of each split in the source.
    """

    def __init__(
        self,
        train: Any,
        val: Any = None,
        test: Any = None,
        *,
        task: Task | None = None,
        classes: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
        transform: nn.Module | None = None,
        augment: Augmentation | None = None,
        name: str = "data",
        notes: Sequence[str] = (),
        source: Mapping[str, Any] | None = None,
        indices: Mapping[str, Any] | None = None,
    ) -> None:
        self.train = as_split(train)
        self.val = None if val is None else as_split(val)
        self.test = None if test is None else as_split(test)
        if task is not None and task not in get_args(Task):
            raise ValueError(f"task must be one of {', '.join(get_args(Task))}, got '{task}'")
        self.classes = None if classes is None else [str(c) for c in classes]
        self.preprocessing, self.transform, self.augment = preprocessing, transform, augment
        self.name, self.notes, self.indices = name, list(notes), indices
        self.source = None if source is None else dict(source)
        self.task: Task | None = task or self._infer_task()

    def split(self, name: str) -> Split:
        """The split "train", "val" or "test"; an error where it does not exist."""
        split: Split | None = (
            getattr(self, name, None) if name in ("train", "val", "test") else None
        )
        if split is None:
            have = [n for n in ("train", "val", "test") if getattr(self, n) is not None]
            raise ValueError(f"this data has no split '{name}', only {', '.join(have)}")
        return split

    def with_splits(self, train: Any, val: Any = None, test: Any = None) -> "Data":
        """Other rows, prepared and named as these are."""
        return Data(
            train,
            val,
            test,
            task=self.task,
            classes=self.classes,
            preprocessing=self.preprocessing,
            transform=self.transform,
            augment=self.augment,
            name=self.name,
        )

    def _targets(self) -> Tensor | None:
        train = getattr(self.train, "sample", self.train)  # of rows that are streamed
        return train.tensors.get("target") if isinstance(train, Resident) else None

    def _infer_task(self) -> Task | None:
        target = self._targets()
        if target is None:
            return None
        if target.is_floating_point():
            return "regression"
        if target.ndim > 1:
            return None  # sequences, masks, ...: the objective knows
        return "binary" if int(target.max()) <= 1 else "multiclass"

    @property
    def outputs(self) -> int:
        """How many numbers a network has to give for each row: classes, labels or targets."""
        if self.classes is not None:
            return len(self.classes)
        target = self._targets()
        if target is None:
            raise ValueError("the number of outputs of streamed data is unknown; pass classes=")
        if self.task in ("binary", "multiclass"):
            return max(int(target.max()) + 1, 2)
        return target.shape[1] if target.ndim > 1 else 1

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one row's input."""
        return tuple(self.example()["input"].shape[1:])

    def example(self, rows: int = 2) -> dict[str, Tensor]:
        """A first small batch of the training split, as the model meets it."""
        if type(self.train) is Resident:  # whose batches are its rows
            return self.prepare(self.train.head(self.train.sizes(rows)[0]).tensors)
        with torch.random.fork_rng():
            batch = next(iter(self.train.batches(rows)))
        return self.prepare(batch)

    def prepare(self, batch: dict[str, Tensor], *, training: bool = False) -> dict[str, Tensor]:
        """The batch with `transform` applied to its input, in training augmented before."""
        if training and self.augment is not None:
            batch = self.augment(batch)
        if self.transform is not None:
            batch = {**batch, "input": self.transform(batch["input"])}
        return batch

    def numbered(self) -> "Data":
        """The same data, each training row with its number as `index`; a stream numbers its own."""
        if not isinstance(self.train, Resident) or "index" in self.train.tensors:
            return self
        rows = torch.arange(len(self.train))
        numbered = copy.copy(self)
        numbered.train = Resident({**self.train.tensors, "index": rows})
        return numbered

    def fingerprint(self) -> str:
        """SHA-256 of the resident tensors (of an even sample of rows beyond 64 MiB)."""
        digest = hashlib.sha256()
        for name in ("train", "val", "test"):
            split = getattr(self, name)
            if not isinstance(split, Resident):
                digest.update(f"{name}:{type(split).__name__}".encode())
                digest.update(split.fingerprint() if hasattr(split, "fingerprint") else b"")
                continue
            for key, tensor in split.tensors.items():
                digest.update(f"{name}.{key}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
                stride = 1 + tensor.numel() * tensor.element_size() // _HASHED_BYTES
                digest.update(tensor[::stride].cpu().contiguous().numpy().tobytes())
        own = getattr(self.transform, "fingerprint", None)
        if own is not None:  # the rows only number what it holds
            digest.update(own())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Plain facts for the run's record."""
        rows = {
            name: len(split) if isinstance(split, Resident) else getattr(split, "rows", None)
            for name in ("train", "val", "test")
            if (split := getattr(self, name)) is not None
        }
        return {
            "name": self.name,
            "task": self.task,
            "rows": rows,
            "input_shape": list(self.input_shape),
            "classes": self.classes,
            "augment": None if self.augment is None else repr(self.augment),
            "fingerprint": self.fingerprint(),
            "source": self.source,
        }

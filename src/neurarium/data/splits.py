"""The two kinds of split: tensors held in memory, and anything that yields batches."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from neurarium.data.graph import Graph

Batch = Mapping[str, Tensor]
"""One batch: `input`, `target` and whatever else an objective reads."""

# Below this size one gather an epoch is cheaper than one a batch; above it the copy costs memory.
_PERMUTE_WHOLE_BYTES = 16 * 2**20


def as_batch(batch: Any) -> dict[str, Tensor]:
    """The mapping behind what a loader yields: a mapping itself, a pair (x, y), or x alone."""
    if isinstance(batch, Mapping):
        return dict(batch)
    if isinstance(batch, Tensor):
        return {"input": batch}
    if isinstance(batch, Sequence) and len(batch) in (1, 2):
        return dict(zip(("input", "target"), batch, strict=False))
    raise TypeError(
        "a batch must be a mapping with the key 'input', a pair (input, target) or one tensor, "
        f"got {type(batch).__name__}"
        + (f" of length {len(batch)}" if isinstance(batch, Sequence) else "")
    )


def _as_tensor(name: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    if hasattr(value, "to_numpy"):  # a DataFrame or a Series
        value = value.to_numpy()
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"'{name}' must be numeric, got an array of {array.dtype}; "
            "encode text and categories first, or load the table with neurarium.data.load"
        )
    if not array.flags.writeable:  # torch warns of a tensor that shares such memory
        array = array.copy()
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.float() if tensor.dtype == torch.float64 else tensor


class Resident:
    """A split held in memory: tensors of equal first dimension, batches taken by index."""

    def __init__(self, tensors: Mapping[str, Any]) -> None:
        self.tensors = {name: _as_tensor(name, value) for name, value in tensors.items()}
        lengths = {name: len(value) for name, value in self.tensors.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"all tensors of a split must have one length, got {lengths}")
        if not len(self):
            raise ValueError("a split must have at least one row, got none")

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def sizes(self, batch_size: int) -> list[int]:
        """Rows of each batch; a last row left alone joins the batch before it.

        Batch normalization cannot normalize one row, and one row is no estimate of a gradient.
        """
        full, rest = divmod(len(self), batch_size)
        if rest == 1 and full and batch_size > 1:
            return [batch_size] * (full - 1) + [batch_size + 1]
        return [batch_size] * full + [rest] * bool(rest)

    def steps(self, batch_size: int) -> int:
        """Number of batches of one pass."""
        return len(self.sizes(batch_size))

    def to(self, device: torch.device) -> "Resident":
        """The same split on another device."""
        return Resident({name: value.to(device) for name, value in self.tensors.items()})

    def head(self, rows: int) -> "Resident":
        """The first rows."""
        return Resident({name: value[:rows] for name, value in self.tensors.items()})

    def batches(self, batch_size: int, seed: int | None = None) -> Iterator[dict[str, Tensor]]:
        """Batches in order, or in the order drawn by `seed`."""
        if seed is None:
            yield from self._slices(self.tensors, batch_size)
            return
        order = self.order(seed)
        if sum(t.numel() * t.element_size() for t in self.tensors.values()) < _PERMUTE_WHOLE_BYTES:
            whole = {name: t.index_select(0, order) for name, t in self.tensors.items()}
            yield from self._slices(whole, batch_size)
            return
        for index in order.split(self.sizes(batch_size)):
            yield {name: t.index_select(0, index) for name, t in self.tensors.items()}

    def order(self, seed: int) -> Tensor:
        """The rows' numbers in the order that `seed` draws."""
        generator = torch.Generator().manual_seed(seed)
        device = next(iter(self.tensors.values())).device
        return torch.randperm(len(self), generator=generator).to(device, non_blocking=True)

    def _slices(
        self, tensors: Mapping[str, Tensor], batch_size: int
    ) -> Iterator[dict[str, Tensor]]:
        names, sizes = tuple(tensors), self.sizes(batch_size)
        columns = (t.split(sizes) for t in tensors.values())
        for parts in zip(*columns, strict=True):
            yield dict(zip(names, parts, strict=True))


def joined(first: Tensor, second: Tensor) -> Tensor:
    """Rows below rows; those with fewer steps are padded with 0 behind."""
    if first.ndim > 1 and first.shape[1] != second.shape[1]:
        steps = max(first.shape[1], second.shape[1])
        first, second = (
            torch.cat([x, x.new_zeros(len(x), steps - x.shape[1], *x.shape[2:])], 1)
            for x in (first, second)
        )
    return torch.cat([first, second])


class Stream:
    """A split that yields batches: a Dataset, a DataLoader or any iterable that can restart."""

    def __init__(self, source: Iterable[Any] | Dataset[Any]) -> None:
        if iter_is_spent_after_one_pass(source):
            raise TypeError(
                "data must be iterable more than once, got a one-shot iterator "
                f"({type(source).__name__}); pass a DataLoader, a Dataset or a list of batches"
            )
        self.source = source

    def __len__(self) -> int:
        return len(self.source)  # type: ignore[arg-type]

    def steps(self, batch_size: int) -> int | None:
        """Number of batches of one pass, None where the source does not know."""
        try:
            length = len(self)
        except TypeError:
            return None
        return -(-length // batch_size) if self._is_dataset() else length

    def _is_dataset(self) -> bool:
        return isinstance(self.source, Dataset)

    def batches(self, batch_size: int, seed: int | None = None) -> Iterator[dict[str, Tensor]]:
        """Batches of one pass; a Dataset is shuffled by `seed`, a loader by itself."""
        source: Any = self.source
        if self._is_dataset():
            shuffle = seed is not None and not isinstance(source, IterableDataset)
            generator = torch.Generator().manual_seed(seed) if seed is not None else None
            source = DataLoader(source, batch_size, shuffle=shuffle, generator=generator)
        try:
            for batch in source:
                yield as_batch(batch)
        except (RuntimeError, ConnectionError, EOFError) as error:
            if _worker_died(source, error):
                raise RuntimeError(
                    "a worker process of the DataLoader died, perhaps of too little memory; go on "
                    "from the last checkpoint with resume=True"
                ) from error
            raise


def _worker_died(source: Any, error: Exception) -> bool:
    """Whether it is the end of the process itself, not an error that the dataset raised there."""
    if not getattr(source, "num_workers", 0) or str(error).startswith("Caught "):
        return False
    return not isinstance(error, RuntimeError) or "DataLoader worker" in str(error)


def iter_is_spent_after_one_pass(source: object) -> bool:
    """Whether iterating consumes the object itself, as with generators and open readers."""
    return isinstance(source, Iterator)


Split = Resident | Stream


def as_split(source: Any) -> Split:
    """A split from what users have: (x, y), a dict of tensors, a Dataset, a DataLoader..."""
    if isinstance(source, Resident | Stream):
        return source
    if isinstance(source, TensorDataset) and len(source.tensors) <= 2:
        return Resident(as_batch(source.tensors))
    if isinstance(source, Mapping):
        if isinstance(source.get("input"), Graph):
            return Stream([source])  # one graph, one batch
        return Resident(source)
    if isinstance(source, Tensor | np.ndarray):
        return Resident({"input": source})
    if isinstance(source, tuple) and len(source) == 2:
        return Resident({"input": source[0], "target": source[1]})
    if isinstance(source, Dataset | Iterable):
        return Stream(source)
    raise TypeError(
        "a split must be a pair (x, y), a mapping of tensors, a Dataset, a DataLoader or an "
        f"iterable of batches, got {type(source).__name__}"
    )

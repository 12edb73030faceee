"""Data larger than memory: read in blocks, shuffled through a buffer, the same order each time.

What is put aside for validation and test, and what preprocessing is fitted on, are samples that fit
in memory; the training rows are all others, read anew each epoch.
"""

import hashlib
import os
import resource
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from neurarium.data.arrays import ArrayPreprocessing, Arrays, codes_of
from neurarium.data.csv_blocks import CsvBlocks
from neurarium.data.data import Data, Preprocessing
from neurarium.data.errors import DataError, listing, rows_after
from neurarium.data.from_arrays import _array_target
from neurarium.data.from_table import Columns, find_targets
from neurarium.data.readers import TextTable, is_parquet
from neurarium.data.scale import Standardize
from neurarium.data.schema import Types, infer_columns
from neurarium.data.splits import Resident, Stream
from neurarium.data.tables import TablePreprocessing
from neurarium.data.targets import Target, describe, infer_target, missing_rows

_SHARE = 0.25  # of the memory; what is larger is streamed
_SMALL = 2**20  # bytes of a Parquet file that is not worth looking into
_GROWTH = 3  # of a file's bytes when it becomes a frame or an array, and tensors
_GROWTH_OF_TEXT, _SHARE_OF_TEXT = 20, 0.75  # a cell is an object; parsing each epoch is slow
_PIECE_ROWS, _PIECE_BYTES, _BUFFER_BYTES = 2**16, 2**23, 2**25
_SAMPLED_BLOCKS, _ASIDE, _FITTED = 200, 50_000, 100_000  # rows, of each
_ASIDE_BYTES, _FITTED_BYTES = 2**24, 2**25  # of them, where rows are wide


@runtime_checkable
class Blocks(Protocol):
    """A file in blocks that can be read in any order, each in pieces that fit in memory.

    Attributes:
        rows: of each block.
        bytes: of all.
        notes: on how it was read.
    """

    bytes: int
    notes: list[str]

    @property
    def rows(self) -> Sequence[int]: ...
    def read(self, block: int) -> Iterator[Any]: ...
    def targets(self, block: int, names: Sequence[str]) -> Iterator[Any]: ...
    def identity(self) -> str: ...


class ParquetBlocks:
    """The row groups of a Parquet file; a piece is a DataFrame."""

    def __init__(self, path: Path) -> None:
        self.path, self.notes = path, list[str]()
        metadata = self._open().metadata
        self.rows = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self.bytes = sum(
            metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)
        )

    def _open(self) -> Any:
        try:
            import pyarrow.parquet as parquet
        except ImportError:
            raise DataError(
                f"reading '{self.path.name}' needs pyarrow, which is not installed; "
                "pip install 'neurarium[parquet]'"
            ) from None
        try:
            return parquet.ParquetFile(self.path, pre_buffer=False, buffer_size=2**20)
        except Exception as error:  # pyarrow raises many kinds for a damaged file
            reason = " ".join(str(error).split())[:200]
            raise DataError(
                f"'{self.path.name}' is not a readable Parquet file: {reason}"
            ) from error

    def read(self, block: int) -> Iterator[Any]:
        yield from self._pieces(block, None)

    def targets(self, block: int, names: Sequence[str]) -> Iterator[Any]:
        yield from self._pieces(block, list(names))

    def _pieces(self, block: int, columns: list[str] | None) -> Iterator[Any]:
        most = 4 * _PIECE_BYTES * sum(self.rows) // max(self.bytes, 1)
        with self._open() as file:
            batches = file.iter_batches(
                max(1, min(_PIECE_ROWS, most)),
                row_groups=[block],
                columns=columns,
                use_threads=False,
            )
            while True:
                try:
                    frame = next(batches).to_pandas().rename(columns=str)
                except StopIteration:
                    return
                except Exception as error:  # pyarrow raises many kinds for a damaged block
                    reason = " ".join(str(error).split())[:200]
                    raise DataError(
                        f"block {block + 1} of '{self.path.name}' cannot be read: {reason}"
                    ) from error
                yield frame

    def identity(self) -> str:
        return f"{self.path.stat().st_size}:{self.rows}:{self._open().schema}"


class ArrayBlocks:
    """A folder's `x.npy` and `y.npy` by ranges of rows; a piece is a pair of arrays.

    They are read, not mapped into memory, so that what was read before does not stay there.
    """

    def __init__(self, folder: Path) -> None:
        self.files, self.notes = (
            [ArrayFile(folder / name) for name in ("x.npy", "y.npy")],
            list[str](),
        )
        x, y = self.files
        if x.shape[0] != y.shape[0]:
            raise DataError(
                f"folder '{folder.name}': x.npy has {x.shape[0]} rows and y.npy {y.shape[0]}; "
                "they must match"
            )
        self.bytes = x.row_bytes * x.shape[0]
        step = max(1, min(_PIECE_ROWS, _PIECE_BYTES // max(x.row_bytes, 1)))
        self.starts = list(range(0, x.shape[0], step))
        self.rows = [min(step, x.shape[0] - start) for start in self.starts]

    def read(self, block: int) -> Iterator[Any]:
        yield tuple(file.read(self.starts[block], self.rows[block]) for file in self.files)

    def targets(self, block: int, names: Sequence[str]) -> Iterator[Any]:
        yield self.files[1].read(self.starts[block], self.rows[block])

    def identity(self) -> str:
        return ":".join(f"{file.shape}{file.dtype}" for file in self.files)


class ArrayFile:
    """The header of an `.npy` file, and its rows on demand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                version = np.lib.format.read_magic(file)
                read = {1: np.lib.format.read_array_header_1_0}.get(
                    version[0], np.lib.format.read_array_header_2_0
                )
                self.shape, fortran, self.dtype = read(file)
                self.start = file.tell()
        except Exception as error:  # tokenize and NumPy raise many kinds for a damaged header
            raise DataError(f"'{path.name}' is not a readable .npy file: {error}") from error
        if fortran or not self.shape or self.dtype.kind not in "biuf":
            raise DataError(f"'{path.name}' must hold rows of numbers in C order")
        self.row_bytes = self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=object))
        if path.stat().st_size < self.start + self.row_bytes * self.shape[0]:
            raise DataError(f"'{path.name}' is shorter than its header says; get it again")

    def read(self, start: int, rows: int) -> np.ndarray:
        with self.path.open("rb") as file:
            file.seek(self.start + start * self.row_bytes)
            count = rows * self.row_bytes // self.dtype.itemsize
            return np.fromfile(file, self.dtype, count).reshape(rows, *self.shape[1:])


def find_arrays(folder: Path) -> bool:
    """Whether a folder holds `x.npy` and `y.npy`."""
    return all((folder / name).is_file() for name in ("x.npy", "y.npy"))


def read_arrays(folder: Path) -> Arrays:
    """The arrays of such a folder, whole."""
    x, y = ArrayBlocks(folder).files
    return Arrays(x.read(0, x.shape[0]), y.read(0, y.shape[0]))


def blocks_of(path: Path) -> ParquetBlocks | ArrayBlocks | None:
    """The blocks of a Parquet file or folder of arrays too large for memory, else None."""
    found: ParquetBlocks | ArrayBlocks
    if path.is_dir() and find_arrays(path):
        found = ArrayBlocks(path)
    elif is_parquet(path) and path.stat().st_size > _SMALL:
        found = ParquetBlocks(path)
    else:
        return None
    return found if found.bytes * _GROWTH > _SHARE * memory() else None


def text_blocks_of(path: Path, **written: Any) -> CsvBlocks | None:
    """The blocks of a text table too large for memory, else None.

    Args:
        written: `header`, `encoding` and `delimiter`, as of `read_table`.
    """
    size = path.stat().st_size
    if path.suffix.lower() == ".gz" and size > _SMALL:
        with path.open("rb") as file:  # its last four bytes count those it unpacks to
            file.seek(-4, os.SEEK_END)
            size = max(size, int.from_bytes(file.read(), "little"))
    large = size > _SMALL and size * _GROWTH_OF_TEXT > _SHARE_OF_TEXT * memory()
    return CsvBlocks(TextTable(path, **written)) if large else None


def memory() -> int:
    """Bytes that this process may use: the machine's, or less where it is limited."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        limits += [soft] if soft != resource.RLIM_INFINITY else []
    group = Path("/sys/fs/cgroup/memory.max")
    if group.is_file() and (written := group.read_text().strip()).isdigit():
        limits.append(int(written))
    return min(limits)


class Streamed(Stream):
    """The training rows of a source in blocks, shuffled through a buffer.

    An epoch reads the blocks in an order drawn by its seed, adds their rows to a buffer, and
    whenever that is full gives a random half of it away. So neighbours in the file part by about a
    buffer, and by more where blocks are small. The order depends on the seed alone: a run that is
    resumed within an epoch reads what came before again, and goes on exactly.

    Args:
        aside: of each sampled block, which rows are not for training.
        rows: number of training rows.
        sample: some of them, prepared.
    """

    def __init__(
        self,
        source: Blocks,
        preprocessing: Preprocessing,
        aside: Mapping[int, np.ndarray],
        rows: int,
        sample: Resident,
    ) -> None:
        self.source: Any = source
        self.preprocessing, self.aside, self.rows, self.sample = preprocessing, aside, rows, sample
        row_bytes = sum(t.element_size() * t[0].numel() for t in sample.tensors.values())
        self.buffer_rows = max(1024, min(2**18, _BUFFER_BYTES // max(row_bytes, 1)))

    def __len__(self) -> int:
        return self.rows

    def steps(self, batch_size: int) -> int:
        """Number of batches of one pass."""
        return len(_sizes(self.rows, batch_size))

    def fingerprint(self) -> bytes:
        """Of the file's form and a sample of its rows."""
        digest = hashlib.sha256(self.source.identity().encode())
        for tensor in self.sample.tensors.values():
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.digest()

    def batches(self, batch_size: int, seed: int | None = None) -> Iterator[dict[str, Tensor]]:
        """Batches in order, or in the order drawn by `seed`."""
        parts = self._parts(range(len(self.source.rows)))
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
            order = torch.randperm(len(self.source.rows), generator=generator).tolist()
            parts = self._mixed(self._parts(order), generator)
        part, start = next(parts, {}), 0
        for size in _sizes(self.rows, batch_size):
            taken: list[dict[str, Tensor]] = []
            while size:
                if part and start == _length(part):
                    part, start = next(parts, {}), 0
                if not part:
                    raise DataError("the training data has fewer rows than when it was first read")
                end = min(start + size, _length(part))
                taken.append({name: value[start:end] for name, value in part.items()})
                size, start = size - (end - start), end
            yield taken[0] if len(taken) == 1 else _joined(taken)

    def _parts(self, order: Sequence[int]) -> Iterator[dict[str, Tensor]]:
        """The training rows of these blocks, prepared, piece by piece."""
        for block in order:
            aside, start = self.aside.get(block), 0
            for piece in self.source.read(block):
                rows = _rows(piece)
                kept = np.ones(rows, bool) if aside is None else ~aside[start : start + rows]
                start += rows
                kept &= _complete(piece, self.preprocessing)
                if kept.any():
                    yield self.preprocessing.transform(_taken(piece, kept), with_target=True)

    def _mixed(
        self, parts: Iterator[dict[str, Tensor]], generator: torch.Generator
    ) -> Iterator[dict[str, Tensor]]:
        held: list[dict[str, Tensor]] = []
        for part in parts:
            held.append(part)
            if (rows := sum(map(_length, held))) >= self.buffer_rows:
                order = torch.randperm(rows, generator=generator)
                buffer = _joined(held)
                held = [{name: t[order[rows // 2 :]] for name, t in buffer.items()}]
                given = {name: t[order[: rows // 2]] for name, t in buffer.items()}
                del buffer, part
                yield given
        if held:
            buffer = _joined(held)
            order = torch.randperm(_length(buffer), generator=generator)
            yield {name: t[order] for name, t in buffer.items()}


def _sizes(rows: int, batch_size: int) -> list[int]:
    """As `Resident.sizes`: a last row left alone joins the batch before it."""
    full, rest = divmod(rows, batch_size)
    if rest == 1 and full and batch_size > 1:
        return [batch_size] * (full - 1) + [batch_size + 1]
    return [batch_size] * full + [rest] * bool(rest)


def _length(part: Mapping[str, Tensor]) -> int:
    return len(next(iter(part.values())))


def _joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _rows(piece: Any) -> int:
    return len(piece[0]) if isinstance(piece, tuple) else len(piece)


def _taken(piece: Any, kept: np.ndarray) -> Any:
    if isinstance(piece, tuple):
        return tuple(array[kept] for array in piece)
    return piece[kept] if isinstance(piece, np.ndarray) else piece.iloc[np.flatnonzero(kept)]


def _complete(piece: Any, preprocessing: Any) -> np.ndarray:
    """Which rows have a target."""
    if isinstance(piece, tuple | np.ndarray):
        return np.ones(_rows(piece), bool)
    return ~missing_rows(piece, preprocessing.target.names)


def from_blocks(
    source: ParquetBlocks | CsvBlocks | ArrayBlocks,
    target: Columns,
    *,
    task: str | None,
    types: Types,
    split: Mapping[str, Any],
    name: str,
) -> Data:
    """Fit preprocessing on a sample, put samples aside, and stream all other rows.

    At most about 50,000 rows each (or 16 MB) are put aside for validation and test, and scales and
    categories are fitted on at most 100,000 training rows (or 32 MB), all drawn from up to 200
    blocks spread over the file.
    """
    drawn, aside = _draw(source, split)
    parts = {key: _joined_raw(pieces) for key, pieces in drawn.items() if pieces}
    del drawn
    preprocessing: Any
    if isinstance(parts["train"], tuple):
        targets = np.concatenate([y for _, y in parts.values()])
        preprocessing, notes = _array_preprocessing(targets, parts["train"], task)
    else:
        whole = _joined_raw(list(parts.values()))
        preprocessing, notes = _table_preprocessing(whole, parts["train"], target, task, types)
    rows = _check_targets(source, preprocessing, aside)
    prepared = {
        key: Resident(
            preprocessing.transform(_taken(part, _complete(part, preprocessing)), with_target=True)
        )
        for key, part in parts.items()
    }
    is_array = isinstance(preprocessing, ArrayPreprocessing)
    transform = Standardize.fit(prepared["train"].tensors["input"]) if is_array else None
    head = prepared["train"].head(1024).tensors
    sample = Resident({key: value.clone() for key, value in head.items()})  # lest it hold all
    counts = {key: len(part) for key, part in prepared.items() if key != "train"}
    told = ", ".join(f"{count:,} for {key}" for key, count in counts.items())
    notes[:0] = source.notes
    notes.append(
        f"too large for the memory: {rows:,} training rows are read in blocks each "
        f"epoch; put aside: {told or 'nothing'}; fitted on {len(prepared['train']):,} rows"
    )
    return Data(
        Streamed(source, preprocessing, aside, rows, sample),
        prepared.get("val"),
        prepared.get("test"),
        task=preprocessing.target.task,
        classes=preprocessing.classes,
        preprocessing=preprocessing,
        transform=transform,
        name=name,
        notes=notes,
    )


def _draw(
    source: Blocks, split: Mapping[str, Any]
) -> tuple[dict[str, list[Any]], dict[int, np.ndarray]]:
    """Raw samples for each split, and which rows of which blocks are not for training."""
    count, total = len(source.rows), sum(source.rows)
    if not total:
        raise DataError("the source holds no rows")
    chosen = np.unique(np.linspace(0, count - 1, min(count, _SAMPLED_BLOCKS)).astype(int))
    there = sum(source.rows[i] for i in chosen)
    row_bytes = max(1, source.bytes // total)
    most = min(_ASIDE, _ASIDE_BYTES // row_bytes)
    test = min(split["test_size"] * total, most) / there
    val = min(split["val_size"] * (1 - split["test_size"]) * total, most) / there
    if test + val > 0.8:  # few of many blocks were looked at
        test, val = 0.8 * test / (test + val), 0.8 * val / (test + val)
    fitted = min(1.0, test + val + min(_FITTED, _FITTED_BYTES // row_bytes) / there)
    drawn: dict[str, list[Any]] = {"train": [], "val": [], "test": []}
    aside = {}
    for block in map(int, chosen):
        lot = np.random.default_rng([split["seed"], block]).random(source.rows[block])
        aside[block] = lot < test + val
        start = 0
        for piece in source.read(block):
            own = lot[start : start + _rows(piece)]
            start += len(own)
            for key, (low, high) in {
                "test": (0, test), "val": (test, test + val), "train": (test + val, fitted)
            }.items():  # fmt: skip
                hit = (own >= low) & (own < high)
                if hit.any():
                    drawn[key].append(_taken(piece, hit))
    return drawn, aside


def _joined_raw(pieces: Sequence[Any]) -> Any:
    if isinstance(pieces[0], tuple):
        return tuple(np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
    import pandas as pd

    return pd.concat(pieces, ignore_index=True)


def _array_preprocessing(
    targets: np.ndarray, train: Any, task: str | None
) -> tuple[Any, list[str]]:
    x, y = train
    goal = _array_target(Arrays(x, targets), task)
    goal = goal.fit(codes_of(y, goal))
    dtype = "uint8" if x.dtype == np.uint8 else "float32"
    notes = [f"task: {describe(goal)} (--task overrides)"] if task is None else []
    return ArrayPreprocessing(x.shape[1:], dtype, goal), notes


def _table_preprocessing(
    whole: Any, train: Any, target: Columns, task: str | None, types: Types
) -> tuple[Any, list[str]]:
    names, notes = find_targets(whole, target)
    whole, train = (frame.loc[~missing_rows(frame, names)] for frame in (whole, train))
    goal, task_notes = infer_target(whole, names, task)
    columns, column_notes = infer_columns(whole.drop(columns=names), types)
    fitted = TablePreprocessing.fit(train, columns, goal)
    return fitted, [*notes, *task_notes, *column_notes]


def _check_targets(source: Any, preprocessing: Any, aside: Mapping[int, np.ndarray]) -> int:
    """The number of training rows; an error now if a target is none that was sampled.

    Of text, where any cell may be a word that is no number, all cells are looked at.
    """
    goal: Target = preprocessing.target
    rows = before = 0
    for block in range(len(source.rows)):
        hidden, start = aside.get(block), 0
        for piece in source.targets(block, goal.names):
            count = _rows(piece)
            kept = _complete(piece, preprocessing)
            known = _taken(piece, kept)
            if isinstance(known, np.ndarray):
                _check_codes(known, goal)
            elif isinstance(source, CsvBlocks):
                with rows_after(before):
                    preprocessing.transform(piece)
            if not isinstance(known, np.ndarray) and len(known):
                goal.codes(known)
            kept &= True if hidden is None else ~hidden[start : start + count]
            start, rows = start + count, rows + int(kept.sum())
            before += count
    return rows


def _check_codes(values: np.ndarray, goal: Target) -> None:
    """Of arrays only what differs is looked up, which is quick."""
    if goal.labels is not None:
        codes_of(np.unique(values), goal)
    elif goal.task == "multilabel":
        if strays := sorted(set(np.unique(values).tolist()) - {0, 1}):
            raise DataError(
                f"y is 0 or 1 in every row sampled but holds {listing(strays, 3)} elsewhere; "
                "correct it or use --task regression"
            )
    elif not np.isfinite(values.astype(np.float64)).all():
        raise DataError("y holds NaN or infinity; replace or remove it")

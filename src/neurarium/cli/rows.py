"""New rows for a trained network: read as the rows it was trained on were."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neurarium.data import Resident
    from neurarium.data.readers import TextTable
    from neurarium.data.streamed import ArrayFile
    from neurarium.training import Run

# What is predicted together, at most; a cell of text is an object of some 60 bytes.
_PIECE_ROWS, _PIECE_CELLS, _PIECE_BYTES = 2**14, 2**18, 2**24


@dataclass(frozen=True)
class Rows:
    """Rows in the form that the run's preprocessing takes.

    Args:
        x: a frame, an array or paths.
        y: their targets, where they do not stand in the frame itself.
        names: of the rows, for those that are files.
        notes: on what was read.
    """

    x: Any
    y: Any = None
    names: list[str] | None = None
    notes: tuple[str, ...] = ()

    def prepared(self, run: "Run", with_target: bool = False) -> "Resident":
        """The rows as tensors, with their target if it is wanted."""
        from neurarium.data import DataError, Resident, as_split

        preprocessing = run.preprocessing
        if isinstance(self.x, Resident):  # nodes of a graph, which the run was given
            return self.x
        if preprocessing is None:
            split = as_split((self.x, self.y) if with_target else self.x)
            assert isinstance(split, Resident)
            return split
        if not with_target:
            return Resident(preprocessing.transform(self.x))
        if hasattr(self.x, "iloc"):
            return Resident(preprocessing.transform(self.x, with_target=True))
        if self.y is None:
            raise DataError("these rows have no target to compare with; use predict")
        return Resident(preprocessing.transform((self.x, self.y), with_target=True))


def read_rows(run: "Run", source: str, reading: Mapping[str, Any]) -> Rows:
    """Read rows for a run, all at once.

    Args:
        reading: `header`, `delimiter` and `encoding` where they are not what training found.

    Raises:
        DataError: if there is no such source or it cannot be read.
    """
    (rows,) = _read(run, source, reading, None)
    return rows


def read_pieces(run: "Run", source: str, reading: Mapping[str, Any]) -> Iterator[Rows]:
    """Read rows for a run, of files that may be larger than memory piece by piece."""
    return _read(run, source, reading, _PIECE_ROWS)


def _read(run: "Run", source: str, reading: Mapping[str, Any], piece: int | None) -> Iterator[Rows]:
    """Rows in their order: so many at a time, or all."""
    from neurarium.data import (
        DataError,
        FreeTextPreprocessing,
        GraphPreprocessing,
        ImagePreprocessing,
        SeriesPreprocessing,
        TablePreprocessing,
        TextPreprocessing,
    )
    from neurarium.data.errors import nearest
    from neurarium.data.named import NAMED

    if isinstance(run.preprocessing, GraphPreprocessing):
        return iter([_nodes(run, source)])
    path = Path(source).expanduser()
    if not path.exists():
        if source in NAMED:
            return iter([_named(NAMED[source]())])
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"there is no file or folder '{source}'; {nearest(path.name, beside)}")
    if isinstance(run.preprocessing, ImagePreprocessing):
        return _pictures(path, piece)
    if isinstance(run.preprocessing, TextPreprocessing):
        return iter([_text(run, path, reading)])
    if isinstance(run.preprocessing, SeriesPreprocessing):
        return map(Rows, _frames(run, path, reading, None))
    if isinstance(run.preprocessing, TablePreprocessing | FreeTextPreprocessing):
        return map(Rows, _frames(run, path, reading, piece))
    return _arrays(path, reading, piece)


def _nodes(run: "Run", source: str) -> Rows:
    """All nodes of a graph, which takes the place of the one trained on.

    A table of nodes has the edges, and is split, as the run's own.
    """
    import torch

    from neurarium.data import DataError, Resident, load

    recorded = dict(run.config.get("data", {}).get("source") or {})
    data = load(**{**recorded, "source": source})
    graph = getattr(data.transform, "graph", None)
    if graph is None:
        raise DataError(f"'{source}' is no graph, but this network was trained on one")
    run.preprocessing.transform(graph)  # type: ignore[union-attr]  # checks its features
    run.transform = data.transform
    rows = {"input": torch.arange(graph.num_nodes)}
    if graph.y is not None:
        rows["target"] = run.preprocessing.target.encode(graph.y.numpy())  # type: ignore[union-attr]
    return Rows(Resident(rows))


def _named(found: Any) -> Rows:
    if hasattr(found, "frame"):
        return Rows(found.frame)
    own_test = found.x_test is not None
    x, y = (found.x_test, found.y_test) if own_test else (found.x, found.y)
    return Rows(x, y)


def _text(run: "Run", path: Path, reading: Mapping[str, Any]) -> Rows:
    from neurarium.data import TextPreprocessing
    from neurarium.data.errors import listing
    from neurarium.data.from_text import read_text

    prepared = run.preprocessing
    assert isinstance(prepared, TextPreprocessing)
    text = read_text(path, _as_recorded(run, reading)["encoding"])
    strange = [repr(character) for character in prepared.tokenizer.unknown(text)]
    note = f"not in the training text, so unknown: {listing(strange)}"
    return Rows(prepared.rows(text), notes=(note,) * bool(strange))


def _as_recorded(run: "Run", reading: Mapping[str, Any]) -> dict[str, Any]:
    """How to read a file: as told, else as the file trained on was read."""
    from neurarium.data import load
    from neurarium.data.plain import check_values

    recorded = check_values(
        run.config.get("data", {}).get("source") or {}, load, "'data.source' of this run"
    )
    options = {key: recorded.get(key) for key in ("header", "delimiter", "encoding")} | {**reading}
    options["encoding"] = options["encoding"] or "utf-8"
    return options


def _frames(run: "Run", path: Path, reading: Mapping[str, Any], piece: int | None) -> Iterator[Any]:
    """Frames; whether the first line names the columns is told by the names trained on."""
    from neurarium.data import DataError, read_table
    from neurarium.data.readers import TextTable, is_parquet
    from neurarium.data.streamed import ParquetBlocks

    if is_parquet(path):
        if piece is None:
            return iter([read_table(path)[0]])
        blocks = ParquetBlocks(path)
        return (frame for i in range(len(blocks.rows)) for frame in blocks.read(i))
    options = _as_recorded(run, reading)
    columns = [column.name for column in run.preprocessing.columns]  # type: ignore[union-attr]
    if "header" not in reading:
        try:
            table = TextTable(path, **{**options, "header": True})
        except DataError:
            table = None  # numbers that come twice are no names
        if table is not None and set(columns) & set(table.names):
            return _in_pieces(table, piece)
        options["header"] = not set(columns) <= {f"column_{i}" for i in range(1, 100_000)}
    return _in_pieces(TextTable(path, **options), piece)


def _in_pieces(table: "TextTable", piece: int | None) -> Iterator[Any]:
    return table.frames(piece and max(1, min(piece, _PIECE_CELLS // len(table.names))))


def _pictures(path: Path, piece: int | None) -> Iterator[Rows]:
    from neurarium.data.images import find_labelled
    from neurarium.data.pictures import find_pictures

    if path.is_file():
        yield Rows([path], names=[path.name])
        return
    found = [picture.path for picture in find_pictures(path)]
    labels = None
    if any(len(picture.parts) > 1 for picture in found):
        splits = find_labelled(path)
        of = {p.path: y for s in splits.values() for p, y in zip(s.pictures, s.labels, strict=True)}
        labels = [of.get(picture) for picture in found]
        if None in labels:
            labels = None
    step = piece or len(found) or 1
    for start in range(0, len(found) or 1, step):
        here = slice(start, start + step)
        paths = [path / picture for picture in found[here]]
        yield Rows(paths, labels and labels[here], [str(picture) for picture in found[here]])


def _arrays(path: Path, reading: Mapping[str, Any], piece: int | None) -> Iterator[Rows]:
    from neurarium.data import DataError
    from neurarium.data.arrays import read_numpy
    from neurarium.data.idx import read_idx_folder
    from neurarium.data.streamed import ArrayBlocks, ArrayFile, find_arrays, read_arrays

    if path.is_dir():
        if piece is None or not find_arrays(path):
            return iter([_named(read_arrays(path) if find_arrays(path) else read_idx_folder(path))])
        return _array_pieces(ArrayBlocks(path).files[0])
    if path.suffix.lower() not in (".npz", ".npy"):
        return _numbers(path, reading, piece)
    if piece is not None and path.suffix.lower() == ".npy":
        try:
            return _array_pieces(ArrayFile(path))
        except DataError:
            pass  # of another order: whole, if at all
    loaded = read_numpy(path)
    if not isinstance(loaded, dict):
        return iter([Rows(loaded)])
    for x, y in (("x_test", "y_test"), ("x", "y")):
        if x in loaded:
            return iter([Rows(loaded[x], loaded.get(y))])
    if len(loaded) == 1:
        return iter([Rows(next(iter(loaded.values())))])
    raise DataError(f"'{path.name}' must hold x (or x_test), got {', '.join(loaded)}")


def _array_pieces(file: "ArrayFile") -> Iterator[Rows]:
    step = max(1, min(_PIECE_ROWS, _PIECE_BYTES // max(file.row_bytes, 1)))
    for start in range(0, file.shape[0], step):
        yield Rows(file.read(start, min(step, file.shape[0] - start)))


def _numbers(path: Path, reading: Mapping[str, Any], piece: int | None) -> Iterator[Rows]:
    """The rows of a table that is nothing but numbers."""
    import numpy as np

    from neurarium.data import read_table
    from neurarium.data.readers import TextTable, is_parquet
    from neurarium.data.values import numbers

    frames = (
        iter([read_table(path)[0]])
        if is_parquet(path)
        else _in_pieces(TextTable(path, **reading), piece)
    )
    for frame in frames:
        yield Rows(np.stack([numbers(frame[name]) for name in frame.columns], 1))

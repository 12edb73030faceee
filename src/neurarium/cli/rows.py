"""New rows for a trained network: read as the rows it was trained on were."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neurarium.data import Resident
    from neurarium.training import Run


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
    """Read rows for a run.

    Args:
        reading: `header`, `delimiter` and `encoding` where they are not what training found.

    Raises:
        DataError: if there is no such source or it cannot be read.
    """
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
        return _nodes(run, source)
    path = Path(source).expanduser()
    if not path.exists():
        if source in NAMED:
            return _named(NAMED[source]())
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"there is no file or folder '{source}'; {nearest(path.name, beside)}")
    if isinstance(run.preprocessing, ImagePreprocessing):
        return _pictures(path)
    if isinstance(run.preprocessing, TextPreprocessing):
        return _text(run, path, reading)
    if isinstance(
        run.preprocessing, TablePreprocessing | SeriesPreprocessing | FreeTextPreprocessing
    ):
        return Rows(_table(run, path, reading))
    return _arrays(path, reading)


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


def _table(run: "Run", path: Path, reading: Mapping[str, Any]) -> Any:
    """The frame; whether its first line names the columns is told by the names trained on."""
    from neurarium.data import DataError, read_table

    options = _as_recorded(run, reading)
    columns = [column.name for column in run.preprocessing.columns]  # type: ignore[union-attr]
    if "header" not in reading:
        try:
            frame, _ = read_table(path, **{**options, "header": True})
        except DataError:
            frame = None  # numbers that come twice are no names
        if frame is not None and set(columns) & set(frame.columns):
            return frame
        options["header"] = not set(columns) <= {f"column_{i}" for i in range(1, 100_000)}
    return read_table(path, **options)[0]


def _pictures(path: Path) -> Rows:
    from neurarium.data.images import find_labelled
    from neurarium.data.pictures import find_pictures

    if path.is_file():
        return Rows([path], names=[path.name])
    found = [picture.path for picture in find_pictures(path)]
    labels = None
    if any(len(picture.parts) > 1 for picture in found):
        splits = find_labelled(path)
        of = {p.path: y for s in splits.values() for p, y in zip(s.pictures, s.labels, strict=True)}
        labels = [of.get(picture) for picture in found]
        if None in labels:
            labels = None
    return Rows([path / picture for picture in found], labels, [str(p) for p in found])


def _arrays(path: Path, reading: Mapping[str, Any]) -> Rows:
    from neurarium.data import DataError, read_table
    from neurarium.data.arrays import read_numpy
    from neurarium.data.idx import read_idx_folder
    from neurarium.data.streamed import find_arrays, read_arrays

    if path.is_dir():
        return _named(read_arrays(path) if find_arrays(path) else read_idx_folder(path))
    if path.suffix.lower() not in (".npz", ".npy"):
        frame, _ = read_table(path, **reading)
        return Rows(frame.astype(float).to_numpy())
    loaded = read_numpy(path)
    if not isinstance(loaded, dict):
        return Rows(loaded)
    for x, y in (("x_test", "y_test"), ("x", "y")):
        if x in loaded:
            return Rows(loaded[x], loaded.get(y))
    if len(loaded) == 1:
        return Rows(next(iter(loaded.values())))
    raise DataError(f"'{path.name}' must hold x (or x_test), got {', '.join(loaded)}")

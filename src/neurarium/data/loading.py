"""`load`: a name, a file, a folder or a frame becomes `Data`."""

from pathlib import Path
from typing import Any

from neurarium.data.arrays import Arrays, read_npz
from neurarium.data.csv_blocks import CsvBlocks
from neurarium.data.data import Data
from neurarium.data.errors import DataError, nearest
from neurarium.data.from_arrays import ImageSize, from_arrays, from_pictures
from neurarium.data.from_graph import from_node_table, from_planetoid
from neurarium.data.from_series import from_series
from neurarium.data.from_table import Columns, from_table
from neurarium.data.from_text import Text, find_text, from_text
from neurarium.data.graph_tables import read_edges
from neurarium.data.idx import find_idx, read_idx_folder
from neurarium.data.named import NAMED
from neurarium.data.partition import check_sizes
from neurarium.data.pictures import ARCHIVES
from neurarium.data.planetoid import find_planetoid, planetoid_file
from neurarium.data.readers import Header, is_parquet, read_table
from neurarium.data.schema import Types
from neurarium.data.streamed import (
    ArrayBlocks,
    ParquetBlocks,
    blocks_of,
    find_arrays,
    from_blocks,
    read_arrays,
    text_blocks_of,
)
from neurarium.data.tables import Table


def load(
    source: Any,
    target: Columns = None,
    *,
    task: str | None = None,
    types: Types = None,
    header: Header = "auto",
    test_size: float = 0.2,
    val_size: float = 0.2,
    seed: int = 0,
    encoding: str = "utf-8",
    delimiter: str | None = None,
    image_size: ImageSize = None,
    edges: str | Path | None = None,
    directed: bool = False,
    time: str | None = None,
    horizon: int | None = None,
    history: int | None = None,
    season: int | None = None,
) -> Data:
    """Read, understand, split and prepare a data set; everything fitted on the training rows.

    What was inferred is told in the result's `notes`; `load(**data.source)` loads it again.

    Args:
        source: a name ("digits"), a file (CSV, TSV, Parquet, .npz; a text is a language model), a
            folder or archive of pictures with one folder per class (also below train, val and
            test), a folder of x.npy and y.npy, of idx files or of Planetoid files, or a DataFrame.
            A table or folder of .npy too large for memory is read in blocks, Parquet quickest.
        target: of a table: the column to predict, by name or position; several as a list or "a,b".
        task: "binary", "multiclass", "multilabel" or "regression" instead of the inferred one.
        types: kinds of columns where the inferred ones are wrong, "zip=category,id=drop".
        header: whether the first line of a text file names the columns.
        test_size: fraction of the rows kept for the test (unless the set has its own).
        val_size: fraction of the remaining rows kept for validation.
        seed: of both splits.
        encoding: of a text file.
        delimiter: of a text file; found if not given.
        image_size: of pictures, 64 or (height, width); else the commonest.
        edges: a file of edges between the rows of a table, which are then the nodes of a graph.
        directed: whether these edges lead one way only.
        time: the column of a table's times: the rows are then a series, split by time, whose
            target is to be forecast.
        horizon: of a series, how many rows ahead; one season if not given.
        history: of a series, on how many rows a forecast looks back; chosen if not given.
        season: of a series, rows of a cycle; by how far apart they are if not given.

    Raises:
        DataError: for anything wrong with the data.
    """
    check_sizes(test_size, val_size)
    options = {
        "target": target,
        "task": task,
        "types": types if types is None or isinstance(types, str) else dict(types),
        "header": header,
        "test_size": test_size,
        "val_size": val_size,
        "seed": seed,
        "encoding": encoding,
        "delimiter": delimiter,
        "image_size": image_size,
    }
    if edges is not None:  # recorded as it was said only where it was
        options |= {"edges": str(Path(edges).expanduser().resolve()), "directed": directed}
    if edges is not None and time is not None:
        raise DataError("a table is a graph or a series: leave out --edges or --time")
    sizes = {"horizon": horizon, "history": history, "season": season}
    if time is not None:
        options |= {"time": time, **{k: v for k, v in sizes.items() if v is not None}}
    elif said := [name for name, value in sizes.items() if value is not None]:
        raise DataError(f"--{said[0]} is of a series: name the column of its times with --time")
    if hasattr(source, "to_pandas"):  # polars, pyarrow
        source = source.to_pandas()
    if hasattr(source, "iloc"):
        return _load("table", Table(source), [], options)
    if isinstance(source, str) and source in NAMED:
        data = _load(source, NAMED[source](), [], options)
        data.source = {"source": source, **options}
        return data
    path = _existing(source)
    tabular = target is not None or time is not None or header != "auto" or delimiter is not None
    text = None if tabular else find_text(path, encoding)
    found, notes = (text, []) if text else _read(path, header, encoding, delimiter)
    data = _load(path.name.split(".")[0], found, notes, options)
    data.source = {"source": str(path.resolve()), **options}
    return data


def _load(name: str, found: Any, notes: list[str], options: Any) -> Data:
    split = {key: options[key] for key in ("test_size", "val_size", "seed")}
    task = options["task"]
    if isinstance(found, ParquetBlocks | CsvBlocks) and not options.keys().isdisjoint(
        ("edges", "time")
    ):
        kind = "graph" if "edges" in options else "series"
        raise DataError(
            f"'{found.path.name}' is too large for the memory; the rows of a {kind} must fit into "
            "it all at once"
        )
    if "edges" in options:
        if not isinstance(found, Table):
            raise DataError("edges join the rows of a table; give the table of nodes as source")
        data = _node_table(found, name, split, options)
    elif "time" in options:
        data = _series(found, name, split, options)
    elif isinstance(found, Table):
        columns = {"types": options["types"], "task": task}
        data = from_table(found, options["target"], split=split, name=name, **columns)
    elif isinstance(found, ParquetBlocks | CsvBlocks | ArrayBlocks):
        columns = {"types": options["types"], "task": task}
        data = from_blocks(found, options["target"], split=split, name=name, **columns)
    elif isinstance(found, Arrays):
        data = from_arrays(found, task=task, split=split, name=name)
    elif isinstance(found, Text):
        data = from_text(found, split, name)
    elif find_planetoid(found) or planetoid_file(found):
        data = from_planetoid(found)
    else:
        data = from_pictures(found, image_size=options["image_size"], split=split, name=name)
    data.notes[:0] = notes
    return data


def _series(found: Any, name: str, split: dict[str, Any], options: dict[str, Any]) -> Data:
    if not isinstance(found, Table):
        raise DataError("--time names a column of a table, which this source is not")
    if options["task"] not in (None, "regression"):
        raise DataError(f"a forecast is of numbers, not {options['task']}; leave --task out")
    if options["target"] is None and found.target is not None:
        options = {**options, "target": found.target}
    sizes = {key: options.get(key) for key in ("horizon", "history", "season")}
    return from_series(
        found, options["target"], options["time"], **sizes, types=options["types"], split=split,
        name=name,
    )  # fmt: skip


def _node_table(table: Table, name: str, split: dict[str, Any], options: dict[str, Any]) -> Data:
    return from_node_table(
        table,
        read_edges(options["edges"], encoding=options["encoding"]),
        options["target"] if options["target"] is not None else table.target,
        task=options["task"],
        types=options["types"],
        split=split,
        directed=options["directed"],
        name=name,
    )


def _existing(source: Any) -> Path:
    if not isinstance(source, str | Path):
        raise DataError(
            f"the source must be a name, a path or a DataFrame, got {type(source).__name__}; "
            "wrap arrays as Data(train=(x, y), ...)"
        )
    path = Path(source).expanduser()
    if not path.exists():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(
            f"there is no file, folder or data set '{source}'; "
            f"{nearest(path.name, [*NAMED, *beside])}"
        )
    return path


def _read(
    path: Path, header: Header, encoding: str, delimiter: str | None
) -> tuple[Table | Arrays | ParquetBlocks | CsvBlocks | ArrayBlocks | Path, list[str]]:
    """What lies at a path: a table, arrays, or (the path itself) pictures to decode.

    A table or arrays too large for memory come as blocks.
    """
    if (blocks := blocks_of(path)) is not None:
        return blocks, []
    if path.is_dir() and find_arrays(path):
        return read_arrays(path), []
    if path.is_dir():
        return (read_idx_folder(path) if find_idx(path) else path), []
    if path.name.lower().endswith(ARCHIVES) or planetoid_file(path):
        return path, []
    if path.suffix.lower() == ".npz":
        return read_npz(path), []
    written = {"header": header, "encoding": encoding, "delimiter": delimiter}
    if not is_parquet(path) and (text := text_blocks_of(path, **written)) is not None:
        return text, []
    frame, notes = read_table(path, **written)  # type: ignore[arg-type]
    return Table(frame), notes

"""`neurarium predict`: answers for new rows."""

import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from neurarium.cli import flags
from neurarium.cli.output import Output

if TYPE_CHECKING:
    from neurarium.training import Run


def predict(
    run: flags.RunFolder,
    source: flags.NewRows,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="CSV file to write; else to stdout.")
    ] = None,
    proba: Annotated[bool, typer.Option("--proba", help="Each class's probability too.")] = False,
    header: flags.Header = None,
    delimiter: flags.Delimiter = None,
    encoding: flags.Encoding = None,
    as_json: flags.Json = False,
) -> None:
    """Predict new rows, as CSV.

    One prediction for each row, in their order; of a series, what comes after the rows. Missing
    values, and words never seen in training, are no error.
    """
    from neurarium.cli.folders import find_run
    from neurarium.training import Run

    reading = flags.given(locals(), "header delimiter encoding")
    folder = find_run(run)
    tables = _tables(Run.load(folder), source, reading, proba)
    says = Output(as_json)
    result: dict[str, Any] = {"run": str(folder), "rows": 0}
    if output is not None:
        with _whole_or_not_at_all(output) as file:
            result["rows"] = _write(file, tables)
        result["output"] = str(output)
        says.say(f"{result['rows']:,} predictions in {output}")
    elif as_json:
        columns: dict[str, list[Any]] = {}
        for table in tables:
            for name, values in table.items():
                columns.setdefault(name, []).extend(values)
        result |= {"rows": len(next(iter(columns.values()))), "predictions": columns}
    else:
        result["rows"] = _write(says.stream, tables)
    says.result(result)


def _tables(
    run: "Run", source: str, reading: Mapping[str, Any], proba: bool
) -> Iterator[dict[str, list[Any]]]:
    """Columns of the answer by name, for as many rows at a time as are read."""
    from neurarium.cli.rows import read_pieces
    from neurarium.data import DataError, SeriesPreprocessing
    from neurarium.data.errors import rows_after

    before = 0
    for rows in read_pieces(run, source, reading):
        if isinstance(run.preprocessing, SeriesPreprocessing):
            table = _forecast(run, rows.x)
        else:
            with rows_after(before):
                table = _answers(run, rows.prepared(run), proba)
        if rows.names is not None:
            table = {"file": rows.names, **table}
        before += len(next(iter(table.values())))
        yield table
    if not before:
        raise DataError(f"'{source}' holds no rows to predict")


def _answers(run: "Run", split: Any, proba: bool) -> dict[str, list[Any]]:
    """Columns of the answer by name."""
    output = run.forward(split)
    answers = run.decode(output)
    target = getattr(run.preprocessing, "target", None)
    if answers.ndim == 2 and answers.shape[1] > 1:
        names = getattr(target, "names", None) or [str(i) for i in range(answers.shape[1])]
        table = {f"prediction_{n}": answers[:, i].tolist() for i, n in enumerate(names)}
    else:
        table = {"prediction": answers.reshape(-1).tolist()}
    if proba:
        table |= _probabilities(run, output)
    return table


def _forecast(run: "Run", frame: Any) -> dict[str, list[Any]]:
    """The rows that come next: their times, and forecasts with the interval there is."""
    from neurarium.data import Resident, SeriesPreprocessing

    fitted = run.preprocessing
    assert isinstance(fitted, SeriesPreprocessing)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        rows = Resident(fitted.transform(frame))
    for warning in told:
        print(warning.message, file=sys.stderr)
    output = run.forward(rows)
    table: dict[str, list[Any]] = {fitted.clock.name: fitted.following(frame)}
    middle = fitted.in_units(output)[0]
    levels = getattr(run.model, "quantiles", ()) if output.ndim == 4 else ()
    for i, name in enumerate(fitted.target_names):
        of = f"_{name}" * (fitted.targets > 1)
        table[f"prediction{of}"] = middle[:, i].tolist()
        if len(levels) > 1:
            found = fitted.quantiles(output)[0, :, i]
            for place in (0, -1):
                table[f"quantile_{levels[place]:g}{of}"] = found[:, place].tolist()
    return table


def _probabilities(run: "Run", output: Any) -> dict[str, list[float]]:
    from neurarium import metrics

    if run.task not in ("binary", "multiclass", "multilabel"):
        raise ValueError(f"a {run.task} predicts no probabilities; leave out --proba")
    found = metrics.probabilities(run.task, output)
    names = run.classes or [str(i) for i in range(found.shape[1])]
    return {f"probability_{n}": found[:, i].round(6).tolist() for i, n in enumerate(names)}


def _write(file: TextIO, tables: Iterable[dict[str, list[Any]]]) -> int:
    """Write the rows as they come; their number."""
    import csv

    writer = csv.writer(file, lineterminator="\n")
    count = 0
    for table in tables:
        if not count:
            writer.writerow(table)
        rows: Iterable[Sequence[Any]] = zip(*table.values(), strict=True)
        writer.writerows([f"{v:.6g}" if isinstance(v, float) else v for v in row] for row in rows)
        count += len(next(iter(table.values())))
    return count


@contextmanager
def _whole_or_not_at_all(path: Path) -> Iterator[TextIO]:
    """A file that gets its name when all is written; what has the name before stays till then."""
    if path.exists() and not path.is_file():  # a pipe, or a terminal
        with path.open("w", encoding="utf-8", newline="") as file:
            yield file
        return
    path = path.resolve()  # of a link, the file behind it
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)

"""`neurarium predict`: answers for new rows."""

import sys
import warnings
from collections.abc import Iterable, Sequence
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
    from neurarium.cli.rows import read_rows
    from neurarium.data import SeriesPreprocessing
    from neurarium.training import Run

    reading = flags.given(locals(), "header delimiter encoding")
    folder = find_run(run)
    loaded = Run.load(folder)
    rows = read_rows(loaded, source, reading)
    if isinstance(loaded.preprocessing, SeriesPreprocessing):
        table = _forecast(loaded, rows.x)
    else:
        table = _answers(loaded, rows.prepared(loaded), proba)
    if rows.names is not None:
        table = {"file": rows.names, **table}
    result: dict[str, Any] = {"run": str(folder), "rows": len(next(iter(table.values())))}
    if output is not None:
        with output.open("w", encoding="utf-8", newline="") as file:
            _write(file, table)
        result["output"] = str(output)
    else:
        result["predictions"] = table
    says = Output(as_json)
    if output is not None:
        says.say(f"{result['rows']:,} predictions in {output}")
    elif not as_json:
        _write(says.stream, table)
    says.result(result)


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


def _write(file: TextIO, table: dict[str, list[Any]]) -> None:
    import csv

    rows: Iterable[Sequence[Any]] = zip(*table.values(), strict=True)
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(table)
    writer.writerows([f"{v:.6g}" if isinstance(v, float) else v for v in row] for row in rows)

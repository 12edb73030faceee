"""`neurarium evaluate`: how good a trained network is."""

from typing import TYPE_CHECKING, Annotated

import typer

from neurarium.cli import flags
from neurarium.cli.output import Output

if TYPE_CHECKING:
    from neurarium.training import Run


def evaluate(
    run: flags.RunFolder,
    source: Annotated[
        str | None, typer.Argument(help="Rows with their target; else the run's own test rows.")
    ] = None,
    split: Annotated[str, typer.Option(help="Of the run's own data: test, val or train.")] = "test",
    header: flags.Header = None,
    delimiter: flags.Delimiter = None,
    encoding: flags.Encoding = None,
    as_json: flags.Json = False,
) -> None:
    """Judge a network on rows with a target.

    On new rows, or again on its own test rows.
    """
    from neurarium.cli.figures import figures_of_rows, figures_of_split
    from neurarium.cli.folders import find_run
    from neurarium.cli.rows import read_rows
    from neurarium.training import Run

    folder = find_run(run)
    loaded = Run.load(folder)
    with Output(as_json) as output:
        if source is None:
            attach_data(loaded)
            figures = figures_of_split(loaded, split)
        else:
            reading = flags.given(locals(), "header delimiter encoding")
            rows = read_rows(loaded, source, reading)
            for note in rows.notes:
                output.detail(note)
            figures = figures_of_rows(loaded, rows.prepared(loaded, with_target=True), source)
        output.say(f"run {folder}")
        figures.show(output)
        result = {"run": str(folder), "task": loaded.task, "rows": figures.rows}
        output.result({**result, "split": split if source is None else source, **figures.json()})


def attach_data(run: "Run") -> None:
    """Load the data that the run recorded, and make sure that it is the same.

    Raises:
        ValueError: if the run does not say where its data was, or the data has changed since.
    """
    from neurarium.data import load

    recorded = run.config.get("data", {})
    source = recorded.get("source")
    if not source:
        raise ValueError(
            f"{run.directory} does not record where its data came from; pass the rows: "
            "neurarium evaluate RUN SOURCE"
        )
    data = load(**source)
    if data.fingerprint() != recorded["fingerprint"]:
        raise ValueError(
            f"{source['source']} is not what it was when {run.directory} was trained, so its test "
            "rows may have been trained on; pass rows by name: neurarium evaluate RUN SOURCE"
        )
    run.attach(data)

"""`neurarium fit`: from a file to a judged network."""

from pathlib import Path
from typing import Annotated, Any

import typer

from neurarium.cli.output import Output

_DATA = ("target", "task", "types", "header", "delimiter", "encoding", "test_size", "val_size")
_TRAINING = ("network", "loss", "rule", "optimizer", "lr", "schedule", "weight_decay")
_TRAINING += ("max_grad_norm", "epochs", "batch_size", "max_steps", "max_time", "patience")
_TRAINING += ("seed", "device", "precision", "threads", "compile", "channels_last")


def fit(
    source: Annotated[str, typer.Argument(help="A data set's name, a file or a folder.")],
    target: Annotated[str | None, typer.Option(help="Column to predict: name or position.")] = None,
    task: Annotated[
        str | None, typer.Option(help="binary, multiclass, multilabel or regression.")
    ] = None,
    types: Annotated[str | None, typer.Option(help='Kinds of columns: "zip=category".')] = None,
    header: Annotated[
        bool | None, typer.Option("--header/--no-header", help="First line names the columns?")
    ] = None,
    delimiter: Annotated[str | None, typer.Option(help="What separates the cells.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of a text file.")] = None,
    test_size: Annotated[float | None, typer.Option(help="Share of rows for the test.")] = None,
    val_size: Annotated[
        float | None, typer.Option(help="Share of the other rows for validation.")
    ] = None,
    network: Annotated[
        str | None,
        typer.Option("--network", "--model", help='Such as "MLP:hidden=256x256"; see the zoo.'),
    ] = None,
    loss: Annotated[str | None, typer.Option(help='Such as "huber:delta=1".')] = None,
    rule: Annotated[str | None, typer.Option(help="Learning rule.")] = None,
    optimizer: Annotated[str | None, typer.Option(help='Such as "sgd:momentum=0.9".')] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    schedule: Annotated[str | None, typer.Option(help="Of the rate, such as one_cycle.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of the optimizer.")] = None,
    max_grad_norm: Annotated[
        float | None, typer.Option(help="Norm the gradient is cut down to.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the training rows.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows of a step.")] = None,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Stop after this many.")] = None,
    max_time: Annotated[str | None, typer.Option(help="Stop after: seconds or HH:MM:SS.")] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Epochs without improvement until it stops.")
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Of split, weights and order; same seed, same run.")
    ] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps.")] = None,
    precision: Annotated[str | None, typer.Option(help="32, bf16 or 16.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    compile: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="Compile the network?")
    ] = None,
    channels_last: Annotated[
        bool | None,
        typer.Option("--channels-last/--no-channels-last", help="Layout of images in memory."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the run; else that of the data.")] = None,
    directory: Annotated[Path, typer.Option(help="Where run folders go.")] = Path("runs"),
    fast_dev_run: Annotated[
        bool, typer.Option("--fast-dev-run", help="One batch of everything; saves nothing.")
    ] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no report.html.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Result as one JSON object, last on stdout.")
    ] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say more.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only figures and folder.")] = False,
) -> None:
    """Train a network on a data set, judge it on rows it has not seen, keep it in a folder.

    What is not said is chosen from the data, told, and can be overridden.
    """
    given: dict[str, Any] = {key: value for key, value in locals().items() if value is not None}
    reading = {key: given[key] for key in (*_DATA, "seed") if key in given}
    options = {key: given[key] for key in _TRAINING if key in given}
    with Output(as_json, quiet) as output:
        _fit(source, reading, options, output, given)


def _fit(
    source: str,
    reading: dict[str, Any],
    options: dict[str, Any],
    output: Output,
    given: dict[str, Any],
) -> None:
    from neurarium.cli import folders
    from neurarium.cli.training import finish, train
    from neurarium.data import load

    data = load(source, **reading)
    for note in data.notes:
        output.detail(note)
    with folders.new_folder(given["directory"], given.get("name", data.name)) as folder:
        output.log.open(folder / folders.LOG)
        run = train(data, options, folder, output)
    finish(run, output, report=not given["no_report"])

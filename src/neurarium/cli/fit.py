"""`neurarium fit`: from a file to a judged network."""

import os
import shlex
from pathlib import Path
from typing import Any

import typer

from neurarium.cli import flags
from neurarium.cli import workers as several
from neurarium.cli.early import resumable, stoppable
from neurarium.cli.output import Output
from neurarium.cli.resume import go_on

# The flags by whom they concern; those not said are left to the defaults that fit the data.
_READING = (
    "target task types header delimiter encoding image_size edges directed time horizon "
    "history season test_size val_size seed"
)
_TRAINING = (
    "network loss penalties augment rule callback optimizer lr schedule weight_decay max_grad_norm "
    "epochs batch_size max_steps max_time patience seed device precision threads compile "
    "channels_last"
)


def fit(
    source: flags.Source,
    target: flags.Target = None,
    task: flags.Task = None,
    types: flags.Types = None,
    header: flags.Header = None,
    delimiter: flags.Delimiter = None,
    encoding: flags.Encoding = None,
    image_size: flags.ImageSize = None,
    edges: flags.Edges = None,
    directed: flags.Directed = None,
    time: flags.Time = None,
    horizon: flags.Horizon = None,
    history: flags.History = None,
    season: flags.Season = None,
    test_size: flags.TestSize = None,
    val_size: flags.ValSize = None,
    network: flags.Network = None,
    loss: flags.Loss = None,
    penalties: flags.Penalties = None,
    augment: flags.Augment = None,
    rule: flags.Rule = None,
    callback: flags.Callback = None,
    optimizer: flags.Optimizer = None,
    lr: flags.LearningRate = None,
    schedule: flags.Schedule = None,
    weight_decay: flags.WeightDecay = None,
    max_grad_norm: flags.MaxGradNorm = None,
    epochs: flags.Epochs = None,
    batch_size: flags.BatchSize = None,
    max_steps: flags.MaxSteps = None,
    max_time: flags.MaxTime = None,
    patience: flags.Patience = None,
    seed: flags.Seed = 0,
    device: flags.Device = None,
    precision: flags.Precision = None,
    threads: flags.Threads = None,
    compile: flags.Compile = None,
    channels_last: flags.ChannelsLast = None,
    workers: flags.Workers = None,
    strategy: flags.Strategy = None,
    fast_dev_run: flags.FastDevRun = False,
    name: flags.Name = None,
    directory: flags.Directory = Path("runs"),
    no_report: flags.NoReport = False,
    as_json: flags.Json = False,
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
    context: typer.Context = None,  # type: ignore[assignment]
) -> None:
    """Train a network and judge it on unseen rows.

    It stays in a folder of its own, with its figures and a report.

    Whatever is not said is chosen from the data and told, with the flag that overrides it.
    """
    said = locals()
    if workers is not None and workers > 1 and "RANK" not in os.environ:
        raise typer.Exit(several.start(workers, context.obj))
    reading, options = flags.given(said, _READING), flags.given(said, _TRAINING)
    command = _command(source, {**reading, **options})
    if val_size or patience:  # small sets would otherwise be trained on these rows too
        options["validate"] = True
    with Output(as_json, quiet, verbose) as output, stoppable("no run was begun yet: say it again"):
        if (folder := several.begun(directory, command)) is not None:
            go_on(folder, output, not no_report, strategy)
            several.forget(directory)
            return
        data = _load(source, reading, output)
        if fast_dev_run:
            _try(data, {"command": command, "options": options}, output, strategy)
        elif not several.is_first():  # another process writes it down
            _help(data, options, output, strategy)
        else:
            place = directory, name or data.name
            record = {"command": command, "options": options}
            _train(data, record, place, output, not no_report, strategy)


def _load(source: str, reading: dict[str, Any], output: Output) -> Any:
    from neurarium.data import load

    data = load(source, **reading)
    for note in data.notes:
        output.detail(note)
    return data


def _help(data: Any, options: dict[str, Any], output: Output, strategy: str | None) -> None:
    from neurarium.cli.training import train

    train(data, {"options": options}, None, output, strategy=strategy)


def _try(data: Any, record: dict[str, Any], output: Output, strategy: str | None) -> None:
    from neurarium.cli.training import finish, train

    options = {**record["options"], "fast_dev_run": True}
    run = train(data, {**record, "options": options}, None, output, strategy=strategy)
    if several.is_first():
        finish(run, output)


def _train(
    data: Any,
    record: dict[str, Any],
    place: tuple[Path, str],
    output: Output,
    report: bool,
    strategy: str | None,
) -> None:
    from neurarium.cli.folders import new_folder
    from neurarium.cli.training import begin, finish, train

    with new_folder(*place) as folder:
        begin(data, record, folder, output)
        several.take_note(place[0], folder, record["command"])
        with stoppable(resumable(folder)):
            run = train(data, record, folder, output, strategy=strategy)
            finish(run, output, report)
    several.forget(place[0])


def _command(source: str, options: dict[str, Any]) -> str:
    """The command that does the same again, whichever shell or program called this one."""
    words = ["neurarium", "fit", source]
    for name, value in options.items():
        flag = "penalty" if name == "penalties" else name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            repeated = value if isinstance(value, list) else [value]
            words += [f"--{flag}={each}" for each in repeated]
    return shlex.join(words)

"""What `fit` and `resume` share: train into a folder, then say how good the network is."""

import io
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurarium.cli import folders
from neurarium.cli.failures import explain
from neurarium.cli.output import Output, as_json

if TYPE_CHECKING:
    from neurarium.data import Data
    from neurarium.training import Run


def begin(data: "Data", record: Mapping[str, Any], folder: Path, output: Output) -> None:
    """Open the log, and note what is to be done: killed at any moment, the run can be resumed."""
    from neurarium.training.run import write_config

    output.log.attach(folder / folders.LOG)
    write_config(folder, {**record, "data": data.describe()})


def train(
    data: "Data",
    record: Mapping[str, Any],
    folder: Path | None,
    output: Output,
    *,
    choice: Mapping[str, Any] | None = None,
    resume: bool | Path | None = None,
    strategy: str | None = None,
) -> "Run":
    """Train with the defaults that fit the data, and the options that override them.

    Args:
        record: what `config.yaml` keeps of the command, enough to begin it again: `options`.
        choice: the defaults that the run was begun with, to go on with the same.
        resume: the checkpoint to go on from; True takes the folder's last.
        strategy: what each of several processes holds, which a resumed run may do otherwise.
    """
    from neurarium._names import resolve
    from neurarium.training import Progress, automatic, callbacks
    from neurarium.training.automatic_choices import Choice

    # Always both, whatever is shown: a run resumes with the callbacks it was begun with.
    stream = io.StringIO() if output.quiet else sys.stderr
    shown: Any = [Progress(stream), Progress(output.log)]  # type: ignore[arg-type]
    options = dict(record["options"])
    if strategy is not None:
        options["strategy"] = strategy
    named = [resolve(name, callbacks, "callback")() for name in options.pop("callback", ())]
    return automatic.fit_source(
        data,
        **options,
        directory=folder,
        callbacks=[*shown, *named],
        tell=output.detail,
        choice=None if choice is None else Choice(**choice),
        resume=resume or False,
        record=record,
    )


def finish(run: "Run", output: Output, report: bool = True) -> None:
    """Judge the run on its test rows, write result and report, say where they are."""
    from neurarium.cli.figures import figures_of_split
    from neurarium.training.checkpoints import write_text

    assert run.data is not None
    split = next(name for name in ("test", "val", "train") if getattr(run.data, name) is not None)
    figures = figures_of_split(run, split)
    result = {
        "run": None if run.directory is None else str(run.directory),
        "task": run.task,
        "model": type(run.model).__name__,
        "seconds": run.config["seconds"],
        "epochs": len(run.history),
        "test": figures.scores if split == "test" else {},
    }
    if figures.baselines:
        result["baselines"] = figures.baselines
    if output.verbose:
        _say_engine(run.config["engine"], output)
    output.say()
    figures.show(output)
    if run.directory is None:
        output.detail("nothing was saved: this was a trial of one batch")
    else:
        write_text(run.directory / folders.RESULT, as_json(result, indent=1) + "\n")
        _say_where(run.directory, output, report and _write_report(run, output))
    output.result(result)


def _say_engine(engine: Mapping[str, Any], output: Output) -> None:
    """How it was computed, and why so."""
    for name, reason in engine["reasons"].items():
        value = {True: "yes", False: "no"}.get(engine[name], engine[name])
        flag = name.replace("_", "-")
        output.say(f"{name.replace('_', ' ')}: {value}, {reason} (--{flag} overrides)")


def _write_report(run: "Run", output: Output) -> bool:
    """Write the page; what goes wrong there must not cost the trained network."""
    from neurarium.report import write

    try:
        write(run)
    except Exception as error:
        output.say(f"no report: {explain(error)[1]}")
        return False
    return True


def _say_where(folder: Path, output: Output, report: bool) -> None:
    where = shlex.quote(str(folder))
    output.say()
    output.say(f"run      {where}")
    if report:
        output.say(f"report   {shlex.quote(str(folder / folders.REPORT))}")
    output.detail(f"next     neurarium predict {where} NEW_ROWS")

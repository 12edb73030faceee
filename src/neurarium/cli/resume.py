"""`neurarium resume`: an interrupted run goes on, to the same end."""

import json
import os
import warnings
from pathlib import Path
from typing import Any

import typer

from neurarium.cli import flags
from neurarium.cli import workers as several
from neurarium.cli.early import resumable, stoppable
from neurarium.cli.output import Output
from neurarium.cli.recorded import recorded


def resume(
    run: flags.RunFolder,
    workers: flags.Workers = None,
    strategy: flags.Strategy = None,
    no_report: flags.NoReport = False,
    as_json: flags.Json = False,
    quiet: flags.Quiet = False,
    context: typer.Context = None,  # type: ignore[assignment]
) -> None:
    """Go on with an interrupted run.

    It goes on exactly where its last checkpoint stands, and ends as if nothing had happened.
    """
    from neurarium.cli import folders

    if workers is not None and workers > 1 and "RANK" not in os.environ:
        raise typer.Exit(several.start(workers, context.obj))
    folder = folders.find_run(run, finished=False)
    with Output(as_json, quiet) as output, stoppable(resumable(folder)):
        finished = folder / folders.RESULT
        if finished.is_file():
            output.say(f"{folder} is finished; neurarium evaluate {folder} judges it again")
            output.result(json.loads(finished.read_text(encoding="utf-8")))
            return
        go_on(folder, output, not no_report, strategy)


def go_on(folder: Path, output: Output, report: bool, strategy: str | None) -> None:
    """Train on from the folder's last checkpoint, and judge; of several processes, all do."""
    from neurarium.cli import folders
    from neurarium.cli.training import finish, train
    from neurarium.training import checkpoints, snapshot

    if several.is_first():
        output.log.attach(folder / folders.LOG)
    config = recorded(folder)
    data = _same_data(folder, config)
    try:
        found = checkpoints.find(folder, output.say)
        meta = checkpoints.read_meta(found)
    except checkpoints.CheckpointError as error:
        found = None
        none = isinstance(error, checkpoints.NoCheckpointError)
        why = f"{folder} has no checkpoint yet" if none else str(error)
        output.say(f"{why}; starting over in the same way")
    else:
        output.say(f"going on after {meta['epoch']} epochs and {meta['step']} steps")
        before, now = meta.get("processes", 1), several.processes()
        if before != now:
            output.say(snapshot.changed(before, now))
    record = {key: config[key] for key in ("command", "options")}
    choice = config.get("choice")
    own = folder if several.is_first() else None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="begun by")  # it has been said
        run = train(data, record, own, output, choice=choice, resume=found, strategy=strategy)
    if own is not None:
        finish(run, output, report)


def _same_data(folder: Path, config: dict[str, Any]) -> Any:
    from neurarium.data import load
    from neurarium.training import CheckpointError

    data = load(**config["data"]["source"])
    if data.fingerprint() != config["data"]["fingerprint"]:
        raise CheckpointError(
            f"{config['data']['source']['source']} is not what it was when {folder} was begun; "
            "restore it, or begin anew with neurarium fit"
        )
    return data

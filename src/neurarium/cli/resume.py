"""`neurarium resume`: an interrupted run goes on, to the same end."""

import json
from pathlib import Path
from typing import Any

from neurarium.cli import flags
from neurarium.cli.output import Output
from neurarium.cli.recorded import recorded
from neurarium.cli.workers import is_first


def resume(
    run: flags.RunFolder,
    no_report: flags.NoReport = False,
    as_json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Go on with an interrupted run.

    It goes on exactly where its last checkpoint stands, and ends as if nothing had happened.
    """
    from neurarium.cli import folders

    folder = folders.find_run(run, finished=False)
    with Output(as_json, quiet) as output:
        finished = folder / folders.RESULT
        if finished.is_file():
            output.say(f"{folder} is finished; neurarium evaluate {folder} judges it again")
            output.result(json.loads(finished.read_text(encoding="utf-8")))
            return
        go_on(folder, output, not no_report)


def go_on(folder: Path, output: Output, report: bool) -> None:
    """Train on from the folder's last checkpoint, and judge; of several processes, all do."""
    from neurarium.cli import folders
    from neurarium.cli.training import finish, train
    from neurarium.training import checkpoints

    if is_first():
        output.log.attach(folder / folders.LOG)
    config = recorded(folder)
    data = _same_data(folder, config)
    try:
        found = checkpoints.find(folder, output.say)
        meta = checkpoints.read_meta(found)
    except checkpoints.CheckpointError as error:
        found = None
        none = "no checkpoint in" in str(error)
        why = f"{folder} has no checkpoint yet" if none else str(error)
        output.say(f"{why}; starting over in the same way")
    else:
        output.say(f"going on after {meta['epoch']} epochs and {meta['step']} steps")
    record = {key: config[key] for key in ("command", "options")}
    choice = config.get("choice")
    own = folder if is_first() else None
    run = train(data, record, own, output, choice=choice, resume=found)
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

"""`neurarium diagnose`: why a network does not learn, in plain words."""

import shlex
from typing import Annotated

import typer

from neurarium.cli import flags
from neurarium.cli.output import Output


def diagnose(
    run: flags.RunFolder,
    rows: Annotated[int, typer.Option(min=1, help="Look at so many of a split.")] = 2048,
    trials: Annotated[
        int, typer.Option(min=0, metavar="STEPS", help="Of each other learning rate; 0: none.")
    ] = 150,
    as_json: flags.Json = False,
) -> None:
    """Say what keeps a network from learning.

    Looks for vanishing gradients, dead units, a bad learning rate, label noise and more, and
    writes what it measured to diagnosis.html in the run's folder.
    """
    from neurarium.cli.evaluate import attach_data
    from neurarium.cli.folders import find_run
    from neurarium.report import diagnostics as pages
    from neurarium.training import Run
    from neurarium.training.diagnostics import diagnose as look

    folder = find_run(run)
    loaded = Run.load(folder)
    attach_data(loaded)
    with Output(as_json) as output:
        found = look(loaded, rows=rows, rehearsal_steps=trials)
        for line in found.lines():
            output.say(line)
        path = pages.write(loaded, found)
        output.say()
        output.say(f"page     {shlex.quote(str(path))}")
        output.result({"run": str(folder), "page": str(path), **found.json()})

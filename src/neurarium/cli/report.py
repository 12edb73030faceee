"""`neurarium report`: write a run's page again."""

from neurarium.cli import flags
from neurarium.cli.output import Output


def report(run: flags.RunFolder, as_json: flags.Json = False) -> None:
    """Write a run's report.html again."""
    from neurarium.cli.evaluate import attach_data
    from neurarium.cli.folders import find_run
    from neurarium.report import write
    from neurarium.training import Run

    folder = find_run(run)
    loaded = Run.load(folder)
    attach_data(loaded)
    path = write(loaded)
    output = Output(as_json)
    output.say(f"report   {path}")
    output.result({"run": str(folder), "report": str(path)})

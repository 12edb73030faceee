"""What `fit` and `resume` share: train into a folder, then say how good the network is."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurarium.cli import folders
from neurarium.cli.output import Output, as_json

if TYPE_CHECKING:
    from neurarium.data import Data
    from neurarium.training import Run


def train(
    data: "Data",
    options: Mapping[str, Any],
    folder: Path | None,
    output: Output,
    resume: bool = False,
) -> "Run":
    """Train with the defaults that fit the data, and the options that override them."""
    from neurarium import networks
    from neurarium.training import Progress, fit

    callbacks = [Progress(_Silent() if output.quiet else sys.stderr), Progress(output.log)]
    network = networks.for_data(
        options.get("network", "MLP"),
        data.input_shape,
        data.outputs,
        getattr(data.preprocessing, "categories", ()),
    )
    record = {"command": sys.argv, "options": dict(options)}
    return fit(
        network,
        data,
        epochs=options.get("epochs", 20),
        lr=options.get("lr"),
        batch_size=options.get("batch_size", 64),
        max_steps=options.get("max_steps"),
        directory=folder,
        callbacks=callbacks,
        resume=resume,
        record=record,
    )


class _Silent:
    def write(self, text: str) -> None: ...
    def flush(self) -> None: ...
    def isatty(self) -> bool:
        return False


def finish(run: "Run", output: Output, report: bool = True) -> None:
    """Judge the run on its test rows, write result and report, say where they are."""
    from neurarium.report.facts import Facts

    facts = Facts(run, ["test"])
    result = {
        "run": None if run.directory is None else str(run.directory),
        "task": run.task,
        "model": type(run.model).__name__,
        "seconds": run.config["seconds"],
        "epochs": len(run.history),
        "test": facts.main.scores if facts.main else {},
    }
    show_figures(facts, output)
    if run.directory is not None:
        from neurarium.training.checkpoints import write_text

        write_text(run.directory / folders.RESULT, as_json(result, indent=1) + "\n")
        if report:
            from neurarium.report import write

            write(run)
        _say_what_next(run.directory, output, report)
    output.result(result)


def show_figures(facts: Any, output: Output) -> None:
    """Each figure with its interval, beside what a constant answer reaches."""
    from neurarium.report.overview import METRIC_NAMES, figure_text, interval_text

    main = facts.main
    if main is None:
        output.say("no test rows, so no test figures")
        return
    answer, known = facts.baseline or ("", {})
    rows = [
        [
            METRIC_NAMES.get(name, name),
            figure_text(name, value),
            interval_text(name, main.intervals[name]) if name in main.intervals else "",
            figure_text(name, known[name]) if name in known else "",
        ]
        for name, value in main.scores.items()
    ]
    output.table([f"{main.name}, {len(main):,} rows", "", "95 % interval", "constant"], rows)
    if answer:
        output.detail(f"constant: {answer}")


def _say_what_next(folder: Path, output: Output, report: bool) -> None:
    output.say(f"run      {folder}")
    if report:
        output.say(f"report   {folder / folders.REPORT}")
    output.detail(f"predict  neurarium predict {folder} NEW_ROWS")

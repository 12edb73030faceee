"""`neurarium compare`: does this idea help on my data?"""

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from neurarium.cli import flags
from neurarium.cli.output import Output

if TYPE_CHECKING:
    from neurarium.study.comparison import Progress, Study

_BASE = (
    "network loss penalties augment rule callback optimizer lr schedule weight_decay max_grad_norm "
    "epochs batch_size max_steps patience device precision compile channels_last"
)
_READING = (
    "target task types header delimiter encoding image_size edges time horizon history season "
    "test_size val_size seed"
)

Vary = Annotated[
    list[str],
    Option(metavar="NAME=VALUE,...", help="What differs; the first value is the base's; repeat."),
]
Seeds = Annotated[int, Option(min=1, metavar="N", help="Runs of every arm.")]
Budget = Annotated[
    str | None, Option(metavar="TIME", help="No run begins that would not end within: 10m, 90s.")
]
Metric = Annotated[
    str | None, Option(metavar="NAME", help="Of the validation rows, such as roc_auc.")
]
Workers = Annotated[int | None, Option(min=1, metavar="N", help="Processes; else one a core.")]
StudyFolder = Annotated[
    Path | None, Option(metavar="FOLDER", help="Of this study; else study/ and the data's name.")
]
Retry = Annotated[bool, Option("--retry", help="Run again what failed before.")]


def compare(
    source: flags.Source,
    vary: Vary,
    target: flags.Target = None,
    seeds: Seeds = 5,
    budget: Budget = None,
    one_at_a_time: Annotated[
        bool, Option("--one-at-a-time", help="Change one name of the base in each arm (usual).")
    ] = False,
    grid: Annotated[bool, Option("--grid", help="Take every combination.")] = False,
    random: Annotated[
        int | None, Option(min=1, metavar="N", help="Draw so many combinations.")
    ] = None,
    metric: Metric = None,
    margin: Annotated[
        float | None, Option(min=0, metavar="SIZE", help="Of a difference that does not matter.")
    ] = None,
    task: flags.Task = None,
    types: flags.Types = None,
    header: flags.Header = None,
    delimiter: flags.Delimiter = None,
    encoding: flags.Encoding = None,
    image_size: flags.ImageSize = None,
    edges: flags.Edges = None,
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
    patience: flags.Patience = None,
    seed: Annotated[int, Option(metavar="N", help="Of the test rows that are put aside.")] = 0,
    device: flags.Device = None,
    precision: flags.Precision = None,
    compile: flags.Compile = None,
    channels_last: flags.ChannelsLast = None,
    workers: Workers = None,
    directory: StudyFolder = None,
    retry: Retry = False,
    no_report: flags.NoReport = False,
    as_json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Say what helps: train with and without, several seeds each.

    Trains a base and what is varied of it with the same seeds, and says with corrected intervals
    what is better, what is worse, and what cannot be told apart. Kill it at any time: the same
    command goes on. Test rows are put aside, and answered once, by the chosen arm.

    Any name that `fit` takes can vary: --vary rule=backprop,sam --vary penalty=none,l1:1e-4, and
    width, depth, activation, normalization, initialization, fraction (of the training rows).
    """
    said = locals()
    if (design := _design(one_at_a_time, grid, random)) is None:
        raise ValueError("take one of --one-at-a-time, --grid and --random")
    with Output(as_json, quiet) as output:
        from neurarium.data import load
        from neurarium.study import study
        from neurarium.study.arms import parse_vary

        varied = parse_vary(vary)
        data = load(source, **flags.given(said, _READING))
        folder = directory or Path("study") / data.name
        with Trials(output) as shown:
            found = study(
                flags.given(said, _BASE),
                varied,
                data,
                seeds=seeds,
                budget=budget,
                metric=metric,
                design=design,
                margin=margin,
                workers=workers,
                directory=folder,
                retry=retry,
                on_progress=shown.update,
                tell=output.detail,
            )
        finish(found, output, report=not no_report)


def _design(one_at_a_time: bool, grid: bool, random: int | None) -> Any:
    """The design that the flags name; None where they name several."""
    if one_at_a_time + grid + (random is not None) > 1:
        return None
    return "grid" if grid else "one-at-a-time" if random is None else random


class Trials:
    """Shows trials as they end: a bar on a terminal, lines elsewhere."""

    def __init__(self, output: Output) -> None:
        self.output, self._bar, self._task = output, None, None  # type: Output, Any, Any

    def __enter__(self) -> "Trials":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, progress: "Progress") -> None:
        """Show one more."""
        trial, outcome = progress.trial, progress.outcome
        if outcome.error is not None:
            self.output.say(f"{trial.arm.name}, seed {trial.seed} failed: {outcome.error}")
        if self.output.quiet:
            return
        if self.output.stream.isatty():
            self._draw(progress)
            return
        from neurarium.study.budget import duration

        left = f", about {duration(progress.seconds_left)} left" if progress.seconds_left else ""
        self.output.say(
            f"{progress.done}/{progress.total} {trial.arm.name}, seed {trial.seed}: "
            f"{outcome.seconds:.1f} s{left}"
        )

    def _draw(self, progress: "Progress") -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.completed:.0f}/{task.total:.0f}"),
                BarColumn(),
                TextColumn("{task.description}"),
                console=Console(file=self.output.stream),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=progress.total)
        from neurarium.study.budget import duration

        self._bar.update(
            self._task,
            completed=progress.done,
            description=f"{progress.trial.arm.name}, about {duration(progress.seconds_left)} left",
        )


def finish(found: "Study", output: Output, report: bool = True) -> None:
    """Say what the study found, and where it is."""
    output.say()
    output.table(*_table(found))
    for line in _remarks(found):
        output.say(line)
    page = None
    if report and found.directory is not None:
        from neurarium.report import studies

        page = studies.write(found)
    if found.directory is not None:
        output.say()
        output.say(f"study    {shlex.quote(str(found.directory))}")
    if page is not None:
        output.say(f"report   {shlex.quote(str(page))}")
    result = found.to_json()
    output.result({**result, "report": None if page is None else str(page)})


def _table(found: "Study") -> tuple[list[str], list[list[str]]]:
    from neurarium.report.overview import METRIC_NAMES

    table = found.table
    what = METRIC_NAMES.get(found.metric, found.metric)
    costs = [name for name in ("memory", "multiply_adds") if table[name].notna().any()]
    header = [f"{what}, {len(found.seeds)} seeds", "mean", "difference", "corrected interval",
              "time", *(name.replace("_", "-") for name in costs)]  # fmt: skip
    rows = []
    for row in table.to_dict("records"):
        low, high = _text(found, row.get("low")), _text(found, row.get("high"))
        rows.append(
            [
                str(row["arm"]),
                _text(found, row["mean"]),
                "base" if row["arm"] == found.base else _text(found, row.get("difference")),
                f"{low} to {high}" if low else "",
                "" if _absent(row["seconds"]) else f"{row['seconds']:.1f} s",
                *(amount(row[name], "B" if name == "memory" else "") for name in costs),
            ]
        )
    return header, rows


def _text(found: "Study", value: Any) -> str:
    from neurarium.report.overview import figure_text

    return "" if _absent(value) else figure_text(found.metric, float(value))


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def amount(value: Any, unit: str = "") -> str:
    """A large number with its prefix: "24 G", "1.3 MB"."""
    if _absent(value):
        return ""
    for power, prefix in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if value >= 10**power:
            return f"{value / 10**power:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}".strip()


def _remarks(found: "Study") -> list[str]:
    """What the table cannot say: what is chosen, what is missing, what test rows say."""
    from neurarium.report.overview import METRIC_NAMES, figure_text

    lines = []
    for one in found.comparisons.values():
        line = f"{one.arm}: {one.words}"
        if one.verdict == "cannot tell" and one.difference and one.detectable is not None:
            least = figure_text(found.metric, one.detectable)
            line += f"; a true difference of {least} would be found 4 times in 5"
        lines.append(line)
    if not found.complete:
        missing = len(found.arms) * len(found.seeds) - len(found.outcomes)
        lines.append(f"The budget left out {missing} trials; the same command goes on.")
    failed = found.errors()
    if failed:
        lines.append(f"{len(failed)} trials failed (--retry runs them again).")
    lines.append(f"Chosen: {found.chosen_words}.")
    if found.metric in found.test:
        values = found.test[found.metric]
        mean = figure_text(found.metric, sum(values) / len(values))
        span = " to ".join(figure_text(found.metric, end(values)) for end in (min, max))
        what = METRIC_NAMES.get(found.metric, found.metric)
        lines.append(f"Its {what} on the test rows, asked once: {mean} ({span} over seeds).")
    return lines

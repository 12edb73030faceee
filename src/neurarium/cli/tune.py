"""`neurarium tune`: the settings that suit some data, and whether they beat the defaults."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from neurarium.cli import flags
from neurarium.cli.output import Output

if TYPE_CHECKING:
    from neurarium.study.search import Tuned

_READING = (
    "target task types header delimiter encoding image_size edges time horizon history season "
    "test_size val_size seed"
)
_BASE = "network loss penalties augment rule optimizer schedule epochs device precision"


def tune(
    source: flags.Source,
    target: flags.Target = None,
    space: Annotated[
        list[str] | None,
        Option(metavar="NAME=RANGE", help='Searched: "lr=1e-4..1e-1:log", "depth=1,2,3"; repeat.'),
    ] = None,
    trials: Annotated[int, Option(min=1, metavar="N", help="Settings that are tried.")] = 40,
    budget: Annotated[
        str | None, Option(metavar="TIME", help="No trial begins after: 10m, 90s.")
    ] = None,
    seeds: Annotated[
        int, Option(min=2, metavar="N", help="Of the last comparison with the defaults.")
    ] = 5,
    workers: Annotated[
        int | None, Option(min=1, metavar="N", help="Processes; else one a core.")
    ] = None,
    directory: Annotated[
        Path | None, Option(metavar="FOLDER", help="Else study/ and the data's name, -tune.")
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
    optimizer: flags.Optimizer = None,
    schedule: flags.Schedule = None,
    epochs: flags.Epochs = None,
    seed: flags.Seed = 0,
    device: flags.Device = None,
    precision: flags.Precision = None,
    as_json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Search the settings that suit the data.

    Settings are judged by validation rows only. The best are then trained anew beside the defaults,
    and answer the test rows once: better is said only where the interval of the difference says so.
    The same command goes on with a search that was stopped.
    """
    said = locals()
    with Output(as_json, quiet) as output:
        import os

        from neurarium.data import load
        from neurarium.study.search import parse_space, tune_on

        searched = parse_space(space or [])
        data = load(source, **flags.given(said, _READING))
        found = tune_on(
            data,
            searched or None,
            base=flags.given(said, _BASE),
            trials=trials,
            budget=budget,
            seeds=seeds,
            workers=workers or os.cpu_count() or 1,
            directory=directory or Path("study") / f"{data.name}-tune",
            seed=seed,
            tell=output.detail,
            on_trial=lambda done: None if quiet else _show(output, done, trials),
        )
        _finish(found, output)


def _show(output: Output, done: int, trials: int) -> None:
    if output.stream.isatty():  # one line, written over
        print(f"\r{done}/{trials} settings", end="\n" if done == trials else "",
              file=output.stream, flush=True)  # fmt: skip
    elif done == trials or done % 5 == 0:
        output.say(f"{done}/{trials} settings")


def _finish(found: "Tuned", output: Output) -> None:
    from neurarium.report.overview import METRIC_NAMES, figure_text

    def text(value: Any) -> str:
        return figure_text(found.metric, float(value))

    search = found.search
    output.say()
    output.say(
        f"{len(search.trials)} settings tried, {search.pruned} given up early, "
        f"{search.failed} failed"
    )
    criterion = METRIC_NAMES.get(found.criterion, found.criterion)
    output.say(
        f"{criterion} on validation rows: defaults {found.default_value:.4g}, best "
        f"{found.value:.4g}"
    )
    if not found.best:
        output.say("Nothing tried beats the defaults: keep them.")
    else:
        for name, value in found.best.items():
            shown = f"{value:.3g}" if isinstance(value, float) else str(value)
            output.say(f"  {name.replace('_', ' ')}: {shown}")
    if found.tuned:
        what = METRIC_NAMES.get(found.metric, found.metric)
        means = [sum(values) / len(values) for values in (found.default, found.tuned)]
        rows = [["defaults", text(means[0]), "", ""], ["tuned", text(means[1])]]
        rows[1] += [text(found.difference), f"{text(found.low)} to {text(found.high)}"]
        output.table([f"{what} on test rows", "mean", "difference", "95 % interval"], rows)
        output.say(_verdict(found))
    if found.directory is not None:
        output.say()
        output.say(f"search   {shlex.quote(str(found.directory))}")
    output.result(found.to_json())


def _verdict(found: "Tuned") -> str:
    if found.verdict == "cannot tell":
        return (
            "Cannot tell whether these settings beat the defaults: the interval holds 0; more test "
            "rows would tell."
        )
    return f"These settings are {found.verdict} than the defaults."

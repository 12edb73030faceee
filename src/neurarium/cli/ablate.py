"""`neurarium ablate`: what matters in a trained network."""

import shlex
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from neurarium.cli import flags
from neurarium.cli.output import Output

if TYPE_CHECKING:
    from neurarium.study.parts import Part
    from neurarium.training import Run

_SHOWN = 8  # parts of each kind; the file has all


def ablate(
    run: flags.RunFolder,
    part: Annotated[
        list[str] | None,
        Option(metavar="KIND", help="layers, units, connections or inputs; repeat; else all."),
    ] = None,
    recover: Annotated[
        bool, Option("--recover", help="Train the rest on without each part, and say how far.")
    ] = False,
    epochs: Annotated[
        int | None, Option(min=1, metavar="N", help="Of --recover; else a fifth of the run's.")
    ] = None,
    tricks: Annotated[
        bool, Option("--tricks", help="Also train again without each trick: dropout, schedule, ...")
    ] = False,
    seeds: Annotated[int, Option(min=1, metavar="N", help="Of --tricks.")] = 3,
    rows: Annotated[int, Option(min=2, metavar="N", help="Ask so many.")] = 2048,
    workers: Annotated[int | None, Option(min=1, metavar="N", help="Of --tricks.")] = None,
    as_json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Take parts out of a network and rank what matters.

    Removes one layer, unit, share of connections or input at a time and asks again; says that a
    part matters only where the corrected interval over rows does.
    """
    from neurarium.cli.evaluate import attach_data
    from neurarium.cli.folders import find_run
    from neurarium.report import ablations
    from neurarium.study import parts
    from neurarium.training import Run
    from neurarium.training.checkpoints import write_text

    kinds = _kinds(part)
    folder = find_run(run)
    loaded = Run.load(folder)
    attach_data(loaded)
    assert loaded.data is not None
    with Output(as_json, quiet) as output:
        split = "val" if loaded.data.val is not None else "test"
        length = epochs or max(1, len(loaded.history) // 5)
        found = parts.ablate_parts(
            loaded, kinds=kinds, recover=length if recover else 0, rows=rows, split=split
        )
        _show(found, loaded, split, output)
        result: dict[str, Any] = {"run": str(folder), "split": split, "parts": parts.to_json(found)}
        if tricks:
            result["tricks"] = _tricks(loaded, folder / "tricks", seeds, workers, output)
        from neurarium.cli.output import as_json as written

        write_text(folder / "ablation.json", written(result, indent=1) + "\n")
        output.say()
        output.say(f"all      {shlex.quote(str(folder / 'ablation.json'))}")
        metric = "r2" if loaded.task == "regression" else "accuracy"
        page = ablations.write(found, metric, split, folder / "ablation.html", loaded.data.name)
        output.say(f"report   {shlex.quote(str(page))}")
        output.result(result)


def _kinds(said: list[str] | None) -> tuple[Any, ...]:
    from neurarium import _names
    from neurarium.study.parts import KINDS

    table = dict(zip(KINDS, KINDS, strict=True)) | {kind[:-1]: kind for kind in KINDS}
    if not said:
        return KINDS
    return tuple(_names.resolve(one, table, "part") for one in said)


def _show(found: "list[Part]", run: "Run", split: str, output: Output) -> None:
    from neurarium.report.overview import figure_text

    metric = "r2" if run.task == "regression" else "accuracy"
    if not found:
        output.say("this network has no such parts")
        return
    output.say(f"{metric} on {split} rows: {figure_text(metric, found[0].whole)} with every part")
    for kind in dict.fromkeys(part.kind for part in found):
        own = [part for part in found if part.kind == kind]
        recovered = any(part.recovered is not None for part in own)
        header = [f"without {kind}", metric, "lost", "corrected interval", "verdict"]
        rows = []
        for part in own[:_SHOWN]:
            between = " to ".join(figure_text(metric, end) for end in (part.low, part.high))
            row = [part.name, figure_text(metric, part.figure), figure_text(metric, part.loss)]
            after = [] if part.recovered is None else [figure_text(metric, part.recovered)]
            rows.append([*row, between, part.verdict, *after])
        output.say()
        output.table([*header, *(["recovered"] * recovered)], rows)
        if len(own) > _SHOWN:
            output.detail(f"and {len(own) - _SHOWN} more {kind} that matter no more")


def _tricks(run: "Run", folder: Any, seeds: int, workers: int | None, output: Output) -> Any:
    from neurarium.cli.compare import Trials, finish
    from neurarium.study.parts import ablate_tricks

    with Trials(output) as shown:
        found = ablate_tricks(
            run, seeds=seeds, workers=workers, directory=folder, on_progress=shown.update
        )
    finish(found, Output(as_json=False, quiet=output.quiet) if not output.as_json else _Silent())
    return found.to_json()


class _Silent(Output):
    """Says nothing on standard output, where a result of its own would be a second one."""

    def __init__(self) -> None:
        super().__init__(as_json=True)

    def result(self, values: Any) -> None: ...

"""`neurarium reproduce`: published figures, measured again."""

import difflib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurarium.cli import flags
from neurarium.cli.output import Output

if TYPE_CHECKING:
    from neurarium.recipes import Reproduction
    from neurarium.zoo import Recipe


def reproduce(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Recipes; none: list them.")
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="List the recipes.")] = False,
    family: Annotated[
        bool,
        typer.Option("--family", help="NAMEs are chapters (01 02 03) or their folders (neurons)."),
    ] = False,
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Runs, with seeds 0 ... N-1.")] = 1,
    as_json: flags.Json = False,
) -> None:
    """Repeat published experiments.

    Prints ours beside the published figure and whether it holds; ends with 1 where it does not.
    """
    output = Output(as_json)
    if listing or not names:
        _list(output)
        return
    if family:
        found = [recipe for name in names for recipe in _find_family(name)]
    else:
        found = [_find(name) for name in names]
    results = [_run(recipe, seeds, output) for recipe in found]
    if len(results) > 1:
        _summarize(results, output)
    plain = [result.to_json() for result in results]
    if as_json:
        output.result(plain[0] if len(plain) == 1 else {"recipes": plain})
    if not all(result.holds for result in results):
        raise typer.Exit(1)


def _list(output: Output) -> None:
    from neurarium import zoo

    recipes = zoo.recipes()
    rows = [
        [
            zoo.CHAPTERS[r.family],
            r.name,
            _minutes(r.minutes),
            ", ".join(r.needs),
            _published(r.published),
            _last(r.name),
            r.figure,
        ]
        for r in recipes
    ]
    output.columns(["", "recipe", "takes", "needs", "published", "last", "figure"], rows)
    output.result({"recipes": [_facts(recipe) for recipe in recipes]})


def _last(name: str) -> str:
    """The figure that was measured here last."""
    try:
        found = json.loads(Path("runs", "recipes", f"{name}.json").read_text(encoding="utf-8"))
        return _number(found["mean"])
    except (OSError, ValueError, KeyError):
        return ""


def _facts(recipe: "Recipe") -> dict[str, Any]:
    return {key: value for key, value in vars(recipe).items() if key not in ("code", "docstring")}


def _find(name: str) -> "Recipe":
    """The recipe of that name.

    Raises:
        LookupError: if there is none; the message names the nearest.
    """
    from neurarium import zoo

    recipes = {recipe.name: recipe for recipe in zoo.recipes()}
    key = name.replace("_", "-").lower()
    if key not in recipes:
        near = difflib.get_close_matches(key, recipes, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else "--list lists them"
        raise LookupError(f"there is no recipe '{name}'; {hint}")
    return recipes[key]


def _find_family(name: str) -> "list[Recipe]":
    """The recipes of a chapter, by its number or folder.

    Raises:
        LookupError: if there is none; the message lists them.
    """
    from neurarium import zoo

    found = [r for r in zoo.recipes() if name.lower() in (r.family, zoo.CHAPTERS[r.family])]
    if not found:
        known = ", ".join(f"{number} ({folder})" for folder, number in zoo.CHAPTERS.items())
        raise LookupError(f"there is no family '{name}'; choose from {known}")
    return found


def _summarize(results: "list[Reproduction]", output: Output) -> None:
    rows = [
        [
            result.name,
            _number(result.mean),
            _published(result.published),
            _range(result.expect),
            "yes" if result.holds else "NO",
            result.figure,
        ]
        for result in results
    ]
    output.columns(["recipe", "ours", "published", "expected", "holds", "figure"], rows)


def _run(recipe: "Recipe", seeds: int, output: Output) -> "Reproduction":
    from neurarium import recipes

    minutes = (recipe.minutes or 0) * seeds
    output.say(f"{recipe.name}: {recipe.summary}")
    output.say(f"{seeds} run{'s' * (seeds > 1)}, about {_minutes(minutes)}")
    result = recipes.run(recipe.name, seeds=seeds)
    path = result.save()
    ours = _number(result.mean)
    if result.interval is not None:
        low, high = result.interval
        ours += f" ({_number(low)} to {_number(high)}, 95 % of {seeds} seeds)"
    output.say()
    output.say(f"{recipe.figure}")
    output.say(f"  ours       {ours}")
    output.say(f"  published  {_published(result.published)}   {result.source}")
    verdict = "holds" if result.holds else "does not hold"
    output.say(f"  expected   {_range(result.expect)}: {verdict}")
    output.say(f"  seconds    {result.seconds:.0f}")
    output.say(f"  kept       {path}")
    if result.curves:
        from neurarium.report.recipes import draw_curves

        output.say(f"  drawn      {draw_curves(result.curves, path.with_suffix('.png'))}")
    output.say()
    if result.table:
        means = [[what, _number(sum(v) / len(v))] for what, v in result.table.items()]
        output.columns(["also measured", "mean"], means)
        output.say()
    return result


def _range(expect: tuple[float | None, float | None]) -> str:
    return " to ".join("…" if end is None else _number(end) for end in expect)


def _number(value: float) -> str:
    return f"{value:.4g}"


def _published(value: float | None) -> str:
    return "none" if value is None else _number(value)


def _minutes(minutes: float | None) -> str:
    if minutes is None:
        return ""
    return f"{minutes:.3g} min" if minutes >= 1 else f"{60 * minutes:.0f} s"

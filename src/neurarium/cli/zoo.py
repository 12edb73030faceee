"""`neurarium zoo`: every technique there is, with its source."""

import re
import shutil
import sys
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from neurarium.cli import flags

if TYPE_CHECKING:
    from neurarium.zoo import Technique

_SOURCES, _RECIPES, _WIDE = 26, 24, 110  # widths of columns, and of terminals with room for all


def zoo(
    pattern: Annotated[
        str, typer.Argument(metavar="PATTERN", help='Such as "*relu" or "losses.*"; or a family.')
    ] = "*",
    as_json: flags.Json = False,
) -> None:
    """List every technique, with its source."""
    found = _find(pattern)
    if as_json:
        from neurarium.cli.output import as_json as text

        print(text([facts(technique) for technique in found]))
        return
    for family, members in groupby(found, key=lambda technique: technique.family):
        typer.secho(family, bold=True)
        _print(list(members))
        print()
    many = "technique" if len(found) == 1 else "techniques"
    print(f"{len(found)} {many}; neurarium show NAME tells all of one")


def _find(pattern: str) -> list["Technique"]:
    """Techniques by shell pattern, by family, or by a part of the name or summary.

    Raises:
        LookupError: if there is none.
    """
    from neurarium import zoo

    everything = zoo.find()
    word = pattern.lower()
    found = (
        zoo.find(pattern)
        or [t for t in everything if word in (t.family.lower(), t.module)]
        or [t for t in everything if word in f"{t.name} {t.summary} {t.source}".lower()]
    )
    if not found:
        families = ", ".join(dict.fromkeys(t.module for t in everything))
        raise LookupError(f"nothing in the zoo matches '{pattern}'; its families are {families}")
    return found


def facts(technique: "Technique") -> dict[str, object]:
    """What programs may want to know, without the code."""
    return {
        "name": technique.name,
        "module": technique.module,
        "kind": technique.kind,
        "family": technique.family,
        "signature": technique.signature,
        "summary": technique.summary,
        "equation": technique.equation,
        "source": technique.source,
        "recipe": technique.recipe,
        "file": technique.file,
        "line": technique.line,
    }


def _print(members: list["Technique"]) -> None:
    """A line each: name, summary, who and when, recipes; cut to the terminal, whole in a file."""
    names = max(len(technique.name) for technique in members)
    if not sys.stdout.isatty():
        for t in members:
            print(f"  {t.name:{names}}  {t.summary}  {t.source}", *map("[{}]".format, t.recipe))
        return
    width = shutil.get_terminal_size().columns
    recipes = _RECIPES if width >= _WIDE else 0
    summaries = max(width - names - _SOURCES - recipes - 6, 20)
    for t in members:
        cells = [
            f"{t.name:{names}}",
            f"{_cut(t.summary, summaries):{summaries}}",
            f"{_cut(brief(t.source), _SOURCES):{_SOURCES}}",
            _cut(", ".join(t.recipe), recipes),
        ]
        print("  " + "  ".join(cells).rstrip())


def brief(source: str) -> str:
    """Who and when: 'Lin et al. (2017)' of a full reference."""
    found = re.match(r"(.*?) (\(\d{4}[a-z]?\))", source)
    if found is None:
        return source
    authors = re.split(r", | & ", found[1])
    who = f"{authors[0].removesuffix(' et al.')} et al." if len(authors) > 2 else found[1]
    return f"{who} {found[2]}"


def _cut(text: str, width: int) -> str:
    return (
        text
        if len(text) <= width
        else text[: max(width - 1, 0)].rstrip(" ,.;:`") + "…" * (width > 0)
    )

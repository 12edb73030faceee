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
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    names = max(len(technique.name) for technique in found)
    for family, members in groupby(found, key=lambda technique: technique.family):
        typer.secho(family, bold=True)
        for technique in members:
            print(_row(technique, names, width))
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


def _row(technique: "Technique", names: int, width: int | None) -> str:
    """One line: name, summary, who and when; cut to the terminal, whole where it is a file."""
    recipe = f"  [{', '.join(technique.recipe)}]" if technique.recipe else ""
    start = f"  {technique.name:{names}}  "
    if width is None:
        return f"{start}{technique.summary}  {technique.source}{recipe}"
    who = _cut(brief(technique.source), max(width // 4, 16)) + recipe
    room = max(width - len(start) - len(who) - 2, 12)
    return f"{start}{_cut(technique.summary, room):{room}}  {who}"


def brief(source: str) -> str:
    """Who and when: 'Beaton & Tukey (1974)' of a full reference."""
    found = re.match(r"(.*?\(\d{4}[a-z]?\))", source)
    return found[1] if found else source


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1].rstrip(" ,.;:") + "…"

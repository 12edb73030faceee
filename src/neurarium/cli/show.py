"""`neurarium show`: all of one technique."""

import ast
import re
import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from neurarium.cli import flags

if TYPE_CHECKING:
    from neurarium.zoo import Technique

_NEAREST = 5


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As the zoo lists it.")],
    as_json: flags.Json = False,
) -> None:
    """Show a technique, from equation to code."""
    from neurarium import zoo

    technique = zoo.show(name)
    near = relatives(technique, zoo.techniques())
    if as_json:
        from neurarium.cli.output import as_json as text
        from neurarium.cli.zoo import facts

        print(text({**facts(technique), "code": technique.code, "relatives": near}))
        return
    _print(technique, near)


def _print(technique: "Technique", near: list[str]) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.syntax import Syntax
    from rich.text import Text

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)

    def say(label: str, text: str) -> None:
        if text:
            console.print(Text(label, style="bold"))
            console.print(Padding(Text(text), (0, 0, 0, 2), expand=False))

    console.print(Text(f"{technique.qualified}", style="bold"), Text(f"({technique.family})"))
    console.print(Text(technique.summary))
    console.print()
    say("equation", technique.equation)
    say("call", "\n".join([technique.signature, *_forward(technique)]))
    say("source", technique.source)
    say("recipes", "\n".join(f"neurarium reproduce {recipe}" for recipe in technique.recipe))
    say("nearest", ", ".join(near))
    console.print()
    console.print(Text(f"neurarium/{technique.file}:{technique.line}", style="bold"))
    theme = "ansi_dark"  # the terminal's own colours, so it suits a light one too
    code = Syntax(
        technique.code,
        "python",
        theme=theme,
        line_numbers=True,
        start_line=technique.line,
        background_color="default",
        word_wrap=True,
    )
    console.print(code)


def _forward(technique: "Technique") -> list[str]:
    """How a layer or network is applied: its `forward` with the shapes."""
    from neurarium._source import signature

    (node,) = ast.parse(technique.code).body[:1]
    methods = node.body if isinstance(node, ast.ClassDef) else []
    return [
        signature(None, method, "forward").replace("(self, ", "(")  # type: ignore[arg-type]
        for method in methods
        if isinstance(method, ast.FunctionDef) and method.name == "forward"
    ]


def relatives(technique: "Technique", everything: list["Technique"]) -> list[str]:
    """The techniques whose code and summary share the most telling words with this one's."""
    words = {t.qualified: _words(t) for t in everything}
    shared_by = Counter(word for found in words.values() for word in found)
    mine = words[technique.qualified]

    def likeness(other: "Technique") -> float:
        theirs = words[other.qualified]
        common = sum(1 / shared_by[word] for word in mine & theirs)
        return common / sum(1 / shared_by[word] for word in mine | theirs)

    others = [t for t in everything if t.qualified != technique.qualified]
    return [t.name for t in sorted(others, key=likeness, reverse=True)[:_NEAREST]]


def _words(technique: "Technique") -> set[str]:
    """Words of its prose and code, and its family and module as such."""
    text = f"{technique.name} {technique.code}"
    return {word.lower() for word in re.findall(r"[A-Za-z]{3,}", text)} | {technique.file}

"""The guides are run: Python blocks top to bottom, commands against the real command line."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
DOCUMENTS = [*GUIDES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def blocks(path: Path, language: str) -> list[tuple[int, str]]:
    """Fenced blocks of a language, with the line on which their code starts."""
    text = path.read_text(encoding="utf-8")
    fences = re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, match.start(1)) + 1, match[1]) for match in fences]


@pytest.mark.parametrize("path", [p for p in GUIDES if blocks(p, "python")], ids=lambda p: p.stem)
def test_python_of_a_guide_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict = {"__name__": "guide"}
    for line, code in blocks(path, "python"):
        # Blank lines in front let a traceback name the guide's own line.
        exec(compile("\n" * (line - 1) + code, str(path), "exec"), namespace)


def commands() -> list[tuple[str, str]]:
    return [
        (f"{path.name}:{line}", command)
        for path in DOCUMENTS
        for line, block in blocks(path, "bash")
        for command in block.splitlines()
        if re.match(r"(\S*/)?neurarium ", command)
    ]


@pytest.mark.parametrize(("place", "command"), commands())
def test_command_of_a_document_is_understood(place, command):
    """Verb, flags and their values are accepted; nothing runs, so no file needs to exist."""
    from typer.main import get_command

    from neurarium.cli.app import app

    verb, *arguments = shlex.split(command, comments=True)[1:]
    if verb.startswith("-"):
        return
    group = get_command(app)
    assert verb in group.commands, f"{place}: no verb {verb!r}"
    group.commands[verb].make_context(verb, arguments)

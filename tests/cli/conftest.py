import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jaxtyping
import pytest

from neurarium.cli import main


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def is_one_sentence(self) -> bool:
        """Whether all that was said is one line of ours on standard error."""
        return not self.out and bool(re.fullmatch(r"neurarium: [^\n]+\n", self.err))


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to type commands in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


@pytest.fixture
def neurarium(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Result]]:
    """`neurarium("fit", "digits")` runs the command in this process, unchecked as users do."""
    jaxtyping.config.update("jaxtyping_disable", True)

    def call(*words: object) -> Result:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Result(code, *capsys.readouterr())

    yield call
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def shell(workplace: Path) -> Callable[..., subprocess.Popen[str]]:
    """`shell("fit", "digits")` starts the command as a process of its own."""

    def start(*words: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", "from neurarium.cli import main; raise SystemExit(main())"]
            + [str(word) for word in words],
            cwd=workplace,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return start

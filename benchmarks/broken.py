"""Break techniques on purpose, one line at a time, and see that their tests notice.

    python benchmarks/broken.py [recurrent] [words of names ...]

A copy of the package and its tests is broken as the tables `broken_*.py` say, and the tests named
there are run, once unbroken too. Exit code 1 if some stay green, or are red without a fault, or if
a line to be broken is not there.
"""

import contextlib
import importlib
import io
import os
import shutil
import sys
import tempfile
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
_COPIED = ("src", "tests", "benchmarks", "pyproject.toml")


def main() -> None:
    chosen = _chosen(sys.argv[1:])
    torch.set_num_threads(1)
    unnoticed = []
    sound: dict[str, bool] = {}
    with tempfile.TemporaryDirectory(prefix="broken-") as folder:
        copy = Path(folder)
        for name in _COPIED:
            place = ROOT / name
            (shutil.copytree if place.is_dir() else shutil.copy)(place, copy / name)
        os.chdir(copy)
        for name, (file, tests, text, instead) in chosen.items():
            path = copy / file
            whole = path.read_text()
            if tests not in sound:
                sound[tests] = _outcome(copy, tests) == 0
            if whole.count(text) != 1:
                found = "NOT THERE ONCE"
            elif not sound[tests]:
                found = "RED ANYWAY"
            else:
                _write(path, whole.replace(text, instead))
                found = {0: "GREEN", 1: "noticed"}.get(_outcome(copy, tests), "NOT RUN")
                _write(path, whole)
            print(f"{found:16} {path.name:32} {name}", flush=True)
            unnoticed += [name] * (found != "noticed")
    print(f"{len(chosen) - len(unnoticed)} of {len(chosen)} noticed")
    sys.exit(bool(unnoticed))


def _chosen(words: list[str]) -> dict[str, tuple[str, str, str, str]]:
    """The faults of the tables that are named, or of all; of these whose names have a word."""
    here = Path(__file__).parent
    tables = sorted(path.stem.removeprefix("broken_") for path in here.glob("broken_*.py"))
    named = [word for word in words if word in tables]
    rest = [word for word in words if word not in tables]
    faults: dict[str, tuple[str, str, str, str]] = {}
    for table in named or tables:
        faults |= importlib.import_module(f"benchmarks.broken_{table}").BROKEN
    return {n: b for n, b in faults.items() if not rest or any(word in n for word in rest)}


def _write(path: Path, text: str) -> None:
    """A second later than before, or Python would take what it compiled last time."""
    later = path.stat().st_mtime_ns + 10**9
    path.write_text(text)
    os.utime(path, ns=(later, later))


def _outcome(copy: Path, tests: str) -> int:
    """Pytest's exit code, in a process that has torch but not yet the package."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 99  # the copy cannot be imported
    with contextlib.suppress(BaseException), contextlib.redirect_stdout(io.StringIO()):
        sys.path[:0] = [str(copy / "src"), str(copy)]
        import pytest

        # Without the check of every annotation, which costs more than most tests.
        plain = "addopts=--import-mode=importlib"
        code = int(pytest.main([tests, "-qx", "-p", "no:cacheprovider", "-o", plain]))
    os._exit(code)


if __name__ == "__main__":
    main()

"""`--workers N`: the same command in N processes of this machine, which train one network.

Several machines, and all else that `torchrun` can do, by `torchrun ... -m neurarium fit ...`.
"""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from neurarium.cli.failures import FAILED, INTERRUPTED

_RESTARTS = 3
_JOB, _AGAIN = "NEURARIUM_JOB", "NEURARIUM_RESTARTS"
_NO_NAME = "none"  # torchrun's name for a job that was given none


def processes() -> int:
    """How many train together: one, unless `torchrun` started several."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process alone writes and speaks."""
    return processes() < 2 or os.environ.get("RANK", "0") == "0"


def start(count: int, arguments: Sequence[str]) -> int:
    """Run a command in so many processes; the exit code of the first that failed, or 0.

    Where one was killed, all begin again, and go on from the run's last checkpoint.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    logging.disable(logging.CRITICAL)  # the processes speak
    threads = max(1, (os.cpu_count() or 1) // count)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ[_JOB] = str(os.getpid())
    command = ["--standalone", f"--nproc-per-node={count}", "-m", "neurarium"]
    for restarts in range(_RESTARTS + 1):
        os.environ[_AGAIN] = str(restarts)
        try:
            main([*command, *_without(arguments)])
        except ChildFailedError as failed:
            codes = [failure.exitcode for failure in failed.failures.values()]
            # Not by a mistake; SIGTERM ends those that are left when one has failed.
            killed = [-code for code in codes if code < 0 and code != -signal.SIGTERM]
            if killed and restarts < _RESTARTS:
                name = signal.Signals(killed[0]).name
                print(f"neurarium: a process died of {name}; all begin again", file=sys.stderr)
                continue
            return next((code for code in codes if code > 0), FAILED)
        except (SignalException, KeyboardInterrupt):
            return INTERRUPTED
        break
    return 0


def take_note(parent: Path, folder: Path, command: str) -> None:
    """Leave word, beside the run folders, of the one that this job trains into."""
    if is_first() and (note := _note(parent)) is not None:
        note.write_text(f"{folder.resolve()}\n{command}", encoding="utf-8")


def forget(parent: Path) -> None:
    """The job has ended."""
    if is_first() and (note := _note(parent)) is not None:
        note.unlink(missing_ok=True)


def begun(parent: Path, command: str) -> Path | None:
    """The run folder of this job if its processes were started again, else None.

    The first decides for all: of several machines one may be new, and the others not.
    """
    found = _noted(parent, command) if is_first() else None
    if processes() > 1:
        from neurarium.training.distributed.processes import Processes

        found = Processes.find().same_path(found)
    return found


def _noted(parent: Path, command: str) -> Path | None:
    again = (os.environ.get(name, "0") for name in (_AGAIN, "TORCHELASTIC_RESTART_COUNT"))
    note = _note(parent)
    if note is None or not note.is_file() or not (_is_named() or any(map(int, again))):
        return None
    folder, _, its_command = note.read_text(encoding="utf-8").partition("\n")
    return Path(folder) if its_command == command else None


def _is_named() -> bool:
    """Whether the job has a name of its own (`--rdzv-id`): then no other job has left its note."""
    return _JOB not in os.environ and os.environ.get("TORCHELASTIC_RUN_ID", _NO_NAME) != _NO_NAME


def _note(parent: Path) -> Path | None:
    """The file of this job's note; None for a process that nobody would start again."""
    if processes() < 2 and "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    job = os.environ.get(_JOB) or os.environ.get("TORCHELASTIC_RUN_ID", _NO_NAME)
    return parent / f".job-{os.getppid() if job == _NO_NAME else job}"


def _without(arguments: Sequence[str]) -> list[str]:
    """The arguments but for `--workers N` itself."""
    left: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--workers":
            next(words, None)
        elif not word.startswith("--workers="):
            left.append(word)
    return left

"""Errors in the user's words: one sentence on standard error, and the exit code that fits."""

import errno
import os
import re
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OUT_OF_MEMORY = "out of memory; try a smaller --batch-size or --network"
FAILED, USAGE, INTERRUPTED, PIPE_CLOSED = 1, 2, 130, 141


def report(error: BaseException) -> int:
    """Say what went wrong, and return the exit code."""
    code, sentence = explain(error)
    said_once = code == USAGE or isinstance(error, KeyboardInterrupt)
    if os.environ.get("RANK", "0") != "0" and said_once:
        return code  # the first of several processes says the same
    print(f"neurarium: {sentence}", file=sys.stderr)
    return code


def explain(error: BaseException) -> tuple[int, str]:
    """The exit code of an error and one sentence on it."""
    if isinstance(error, KeyboardInterrupt):  # a run that saved itself knows its own code
        return getattr(error, "exit_code", INTERRUPTED), _line(error) or "interrupted"
    if hasattr(error, "format_message"):  # the parser's own, of typer or of click
        return USAGE, _usage(error)
    if isinstance(error, ValueError):
        return USAGE, _line(error) + ("" if _is_ours(error) else "; --debug shows where")
    if isinstance(error, LookupError) and _is_ours(error):
        return USAGE, str(error.args[0])
    if isinstance(error, OSError) and error.errno in _FULL:
        return FAILED, (
            f"cannot write {error.filename or 'a file'}: {error.strerror}; what was saved before "
            "is whole: make room, then go on with neurarium resume RUN"
        )
    if isinstance(error, OSError) and error.filename is not None:
        return USAGE, f"cannot use {error.filename}: {error.strerror or _line(error)}"
    if isinstance(error, RuntimeError) and re.search(r"Connection (closed|reset) by", str(error)):
        return FAILED, "another process of this training has ended"
    if isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error):
        return FAILED, _OUT_OF_MEMORY
    if isinstance(error, FloatingPointError) or (
        isinstance(error, RuntimeError) and _is_ours(error)
    ):
        return FAILED, _line(error)
    missing = (getattr(error, "name", None) or "").split(".")[0]
    if isinstance(error, ImportError) and missing not in ("", "neurarium"):
        return FAILED, f"{_line(error)}; pip install {missing}"
    if isinstance(error, MemoryError) and _is_ours(error) and _line(error):
        return FAILED, _line(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return FAILED, _OUT_OF_MEMORY
    return FAILED, f"{type(error).__name__}: {_line(error)}; run again with --debug to see where"


def quietly() -> int:
    """The reader of our output has gone, as `head` does: nothing to say, nothing more to flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return PIPE_CLOSED


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _usage(error: Any) -> str:
    """The parser's message in our form, with the verb whose help says more."""
    message = error.format_message().strip()
    message = re.sub(r" \(Possible options: (.*)\)$", r"; did you mean \1?", message)
    message = re.sub(r"\. Did you mean '(.*)'\?$", r"; did you mean \1?", message)
    verb = error.ctx.command_path if getattr(error, "ctx", None) else "neurarium"
    return f"{message[:1].lower()}{message[1:].rstrip('.')} ({verb} --help lists all)"


def _is_ours(error: BaseException) -> bool:
    """Whether this package raised it, and so wrote it for the user."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    package = Path(__file__).parents[1]
    return trace is not None and Path(trace.tb_frame.f_code.co_filename).is_relative_to(package)

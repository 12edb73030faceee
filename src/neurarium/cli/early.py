"""Signals where no step is under way: before the first one, and after the last."""

import contextlib
import shlex
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType


class Stopped(KeyboardInterrupt):
    """A command ended by a signal outside of the training's steps, which save themselves."""

    def __init__(self, number: int, hint: str) -> None:
        self.exit_code = 128 + number  # as a shell expects
        super().__init__(f"interrupted by {signal.Signals(number).name}; {hint}")


def resumable(folder: Path) -> str:
    """What to do once a run has its folder."""
    return f"go on with: neurarium resume {shlex.quote(str(folder))}"


@contextlib.contextmanager
def stoppable(hint: str) -> Iterator[None]:
    """Inside, SIGINT and SIGTERM end the command with one sentence, whose end is `hint`.

    While steps are made the trainer's own answer to them is in force.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number, hint)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

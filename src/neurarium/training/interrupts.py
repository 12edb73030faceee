"""SIGINT and SIGTERM: finish the step, save, say how to go on."""

import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """A run stopped by a signal, after its step was finished and its state saved."""

    def __init__(self, number: int, checkpoint: Path | None) -> None:
        self.number, self.checkpoint = number, checkpoint
        name = signal.Signals(number).name
        kept = (
            f"saved {checkpoint}; go on with: neurarium resume {checkpoint.parent.parent}"
            if checkpoint
            else "nothing saved: the run has no directory"
        )
        super().__init__(f"interrupted by {name}; {kept}")

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process ended by this signal."""
        return 128 + self.number


_ECHO = 2.0  # seconds


class Signals:
    """Takes note of SIGINT and SIGTERM while active; a second one takes effect at once.

    Not so under `torchrun`, which passes on what a terminal has already sent to all.

    Python delivers signals to the main thread only, so elsewhere this does nothing.
    """

    def __init__(self) -> None:
        self.received, self._echoed = 0, 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received and time.monotonic() > self._echoed:
            raise KeyboardInterrupt
        if not self.received:
            self._echoed = time.monotonic() + _ECHO * ("TORCHELASTIC_RUN_ID" in os.environ)
        self.received = number

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

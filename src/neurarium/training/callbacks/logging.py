"""Say how the run goes: on the terminal, and as JSON lines in its folder."""

import io
import json
import sys
import time
from typing import TYPE_CHECKING, Any, cast

from neurarium.training.callbacks.base import Callback
from neurarium.training.checkpoints import write_text

if TYPE_CHECKING:
    from neurarium.training.trainer import Trainer

__all__ = ["JSONLines", "Progress"]


class JSONLines(Callback):
    """Append each epoch's figures to `metrics.jsonl` in the run folder."""

    order = 30
    first_process_only = True

    def on_fit_start(self, trainer: "Trainer") -> None:
        if trainer.directory is not None:  # after a resume: without the epochs to be redone
            lines = [json.dumps(row) + "\n" for row in trainer.history.rows()]
            write_text(trainer.directory / "metrics.jsonl", "".join(lines))

    def on_train_epoch_end(self, trainer: "Trainer") -> None:
        if trainer.directory is not None:
            with (trainer.directory / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(trainer.history.rows()[-1]) + "\n")


class Progress(Callback):
    """A progress bar with the time left on a terminal, plain lines elsewhere.

    Args:
        stream: where to write; standard error, so that results can be piped.
        interval: seconds between plain lines, and between updates of the bar's numbers.
    """

    order = 40
    first_process_only = True
    reads_steps = False

    def __init__(self, stream: io.TextIOBase | None = None, interval: float | None = None) -> None:
        self.stream = cast(Any, stream or sys.stderr)
        self.terminal = self.stream.isatty()
        self.interval = (0.1 if self.terminal else 2.0) if interval is None else interval
        self._shown, self._printed = 0.0, -1
        self._bar: Any = None

    def on_fit_start(self, trainer: "Trainer") -> None:
        self._shown = time.monotonic()
        if not self.terminal:
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:3.0f}%"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[figures]}"),
            console=Console(file=self.stream),
        )
        self._bar.start()
        total = trainer.total_steps
        self._task = self._bar.add_task("training", total=total, figures="")

    def on_train_batch_end(
        self, trainer: "Trainer", outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._bar is not None and time.monotonic() - self._shown >= self.interval:
            self._draw(trainer)

    def on_train_epoch_end(self, trainer: "Trainer") -> None:
        if self._bar is not None:
            self._draw(trainer)
        elif time.monotonic() - self._shown >= self.interval or trainer.epoch == trainer.epochs:
            self._print(trainer)

    def _draw(self, trainer: "Trainer") -> None:
        self._shown = time.monotonic()
        epoch = min(trainer.epoch + 1, trainer.epochs)
        self._bar.update(
            self._task,
            completed=trainer.step,
            description=f"epoch {epoch}/{trainer.epochs}",
            figures=figures(trainer),
        )

    def _print(self, trainer: "Trainer") -> None:
        self._shown, self._printed = time.monotonic(), trainer.epoch
        print(f"epoch {trainer.epoch}/{trainer.epochs}  {figures(trainer)}", file=self.stream)

    def on_fit_end(self, trainer: "Trainer") -> None:
        if self._bar is not None:
            self._draw(trainer)
            self._bar.stop()
        elif self._printed != trainer.epoch:
            self._print(trainer)
        self.stream.flush()

    def on_exception(self, trainer: "Trainer", exception: BaseException) -> None:
        if self._bar is not None:
            self._bar.stop()


def figures(trainer: "Trainer") -> str:
    """The last epoch's losses and metrics in one line."""
    rows = trainer.history.rows()
    if not rows:
        return ""
    skipped = ("epoch", "step", "seconds", "lr", "train_grad_norm")
    return "  ".join(f"{k} {v:.4g}" for k, v in rows[-1].items() if k not in skipped)

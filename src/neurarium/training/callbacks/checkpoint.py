"""Write checkpoints: the last state, and the best epochs."""

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurarium.training.callbacks.base import Callback
from neurarium.training.callbacks.early_stopping import Mode, monitored

if TYPE_CHECKING:
    from neurarium.training.trainer import Trainer

__all__ = ["Checkpoint"]


class Checkpoint(Callback):
    """Keep `checkpoints/last` fresh and `checkpoints/best` the best epoch so far.

    Args:
        monitor: a column of the history that says which epoch is best; None keeps only the last.
        mode: whether less ("min") or more ("max") is better.
        save_top_k: how many of the best epochs to keep; the best is `best`, all are `step-NNNNNN`
            where there is more than one.
        save_last: whether to keep `last`, from which a run can be resumed.
        every_n_steps: write `last` also inside an epoch, every so many steps.
        every_n_seconds: at the end of an epoch write `last` only this long after the time before;
            0 writes it every epoch. What a killed process loses is redone exactly.
    """

    order = 20

    def __init__(
        self,
        monitor: str | None = "val_loss",
        mode: Mode = "min",
        save_top_k: int = 1,
        save_last: bool = True,
        every_n_steps: int | None = None,
        every_n_seconds: float = 10.0,
    ) -> None:
        self.monitor, self.mode, self.save_top_k = monitor, mode, save_top_k
        self.save_last, self.every_n_steps = save_last, every_n_steps
        self.every_n_seconds = every_n_seconds
        self.kept: list[tuple[float, str]] = []  # (value, less is better; directory), best first
        self._written, self._judged = time.monotonic(), False
        self.reads_steps = bool(every_n_steps)

    def on_train_batch_end(
        self, trainer: "Trainer", outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.save_last and self.every_n_steps and trainer.step % self.every_n_steps == 0:
            self._save_last(trainer)

    def on_validation_epoch_end(self, trainer: "Trainer") -> None:
        self._judged = True

    def _save_best(self, trainer: "Trainer") -> None:
        if self.monitor is None or trainer.directory is None or not self.save_top_k:
            return
        value = monitored(trainer, self.monitor)
        value = value if self.mode == "min" else -value
        if len(self.kept) >= self.save_top_k and value >= self.kept[-1][0]:
            return
        best = not self.kept or value < self.kept[0][0]
        name = "best" if self.save_top_k == 1 else f"step-{trainer.step:06d}"
        self.kept = sorted([*self.kept, (value, name)])[: self.save_top_k]
        trainer.save_checkpoint(name)
        if best and name != "best":
            trainer.save_checkpoint("best")
        if trainer.processes.rank == 0:
            self._remove_others(trainer.directory / "checkpoints")

    def _remove_others(self, directory: Path) -> None:
        wanted = {name for _, name in self.kept}
        for path in directory.glob("step-*"):
            if path.name not in wanted:
                shutil.rmtree(path)

    def on_train_epoch_end(self, trainer: "Trainer") -> None:
        if self._judged:  # the epoch is over only now, and can be gone on from exactly
            self._judged = False
            self._save_best(trainer)
        (due,) = trainer.processes.agree(time.monotonic() - self._written >= self.every_n_seconds)
        if self.save_last and due:
            self._save_last(trainer)

    def on_fit_end(self, trainer: "Trainer") -> None:
        if self.save_last:
            self._save_last(trainer)

    def _save_last(self, trainer: "Trainer") -> None:
        trainer.save_checkpoint("last")
        self._written = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"kept": [list(pair) for pair in self.kept]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.kept = [(value, name) for value, name in state["kept"]]

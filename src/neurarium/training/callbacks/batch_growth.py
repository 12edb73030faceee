"""Grow the batch where others lower the learning rate."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch.utils.data import Dataset

from neurarium._names import resolve
from neurarium.data import Resident, Split
from neurarium.optim import schedules
from neurarium.training.callbacks.base import Callback

if TYPE_CHECKING:
    from neurarium.training.trainer import Trainer

__all__ = ["BatchGrowth"]


class BatchGrowth(Callback):
    r"""Multiply the batch size by a schedule, and divide the rate by what the batch cannot take.

    $$B_e = \min\bigl(B\, s(e),\, \tfrac{N}{10}\bigr), \qquad
      \eta_e = \eta\, \frac{B_e}{B\, s(e)}, \qquad
      g = \frac{\eta_e N}{B_e (1 - \mu)} \text{ as under } \frac{\eta}{s(e)},\, B$$

    The loader takes larger batches, each still a mean, so an epoch covers the data once in fewer
    steps; a schedule of the rate is told how many there are in all.

    Args:
        schedule: a function (epoch, epochs) -> multiplier of the batch size, or the name of one:
            "batch_growth:milestones=8x18,factor=5".
        most: largest batch as a share of the training rows.

    Raises:
        ValueError: where a DataLoader decides the batch size, or the rule has no rate to divide.

    Source: Smith, Kindermans, Ying & Le (2018), Don't decay the learning rate, increase the batch
    size, arXiv:1711.00489.
    """

    order = -20  # before the others plan by the number of steps

    def __init__(
        self, schedule: str | Callable[[int, int], float] = "batch_growth", most: float = 0.1
    ) -> None:
        if not 0 < most <= 1:
            raise ValueError(f"most must lie in (0, 1], got {most}; it is a share of the rows")
        self.schedule = resolve(schedule, schedules, "schedule")
        self.most, self.divided = most, 1.0

    def on_fit_start(self, trainer: "Trainer") -> None:
        rows = _rows(trainer.train)
        if rows is None:
            raise ValueError(
                "BatchGrowth needs data whose batches it can choose, got a loader or a stream; "
                "pass its Dataset or tensors"
            )
        epochs = range(trainer.epochs)
        self._first, self._rows = trainer.batch_size, rows
        trainer.batch_sizes = [self._size(epoch, trainer.epochs)[0] for epoch in epochs]
        divides = any(self._size(epoch, trainer.epochs)[1] != 1 for epoch in epochs)
        if divides and not hasattr(trainer.rule, "scale_lr"):
            raise ValueError(
                f"BatchGrowth would have to divide the learning rate of {trainer.rule!r}, which "
                "has none; raise most, or grow less"
            )
        if hasattr(trainer.rule, "plan"):
            trainer.rule.plan(trainer.total_steps)

    def _size(self, epoch: int, epochs: int) -> tuple[int, float]:
        """Rows of a batch in this epoch, and what is left to divide the rate by."""
        wanted = self._first * self.schedule(epoch, epochs)
        most = max(int(self.most * self._rows), self._first)
        size = max(1, min(round(wanted), most))
        return size, wanted / size if wanted > most else 1.0

    def on_train_epoch_start(self, trainer: "Trainer") -> None:
        size, divisor = self._size(trainer.epoch, trainer.epochs)
        trainer.batch_size = size
        if divisor != self.divided:
            trainer.rule.scale_lr(self.divided / divisor)  # type: ignore[attr-defined]
            self.divided = divisor

    def state_dict(self) -> dict[str, Any]:
        return {"divided": self.divided}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.divided = state["divided"]


def _rows(split: Split) -> int | None:
    """Rows of a split whose batches are ours to cut."""
    if isinstance(split, Resident):
        return len(split)
    sized = isinstance(split.source, Dataset) and hasattr(split.source, "__len__")
    return len(split) if sized else None

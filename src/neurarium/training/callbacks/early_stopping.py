"""Stop when the validation figure no longer improves, and keep the best weights."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from neurarium._names import resolve
from neurarium.training.callbacks import stopping_criteria
from neurarium.training.callbacks.base import Callback

if TYPE_CHECKING:
    from neurarium.training.trainer import Trainer

__all__ = ["EarlyStopping"]

Mode = Literal["min", "max"]
Criterion = Callable[[Sequence[float], Sequence[float]], bool]


class EarlyStopping(Callback):
    r"""Stop after `patience` epochs without a new best, and restore the best epoch's weights.

    $$t^* = \arg\min_{t} E_{\text{val}}(t), \qquad
      \text{stop at the first } t \text{ with } t - t^* \ge \text{patience}$$

    An epoch is a new best if it improves on the last one by more than `min_delta`. Buffers (batch
    normalization's statistics) are restored with the parameters.

    Args:
        monitor: a column of the history: "val_loss", "val_accuracy", ...
        mode: whether less ("min") or more ("max") is better.
        patience: epochs without improvement until the run stops; None never stops it early, but
            still restores the best weights.
        criterion: what decides instead of `patience`: one of Prechelt's, "GL:5" (the error is 5 %
            above its least), "PQ:0.5" (that, measured by the progress in training) or "UP:3" (the
            error rose in 3 strips of 5 epochs), or a function of the errors and the training
            losses of all epochs so far.

    Raises:
        ValueError: when the history has no such column.

    Source: Prechelt (1998), Early stopping - but when?, in: Neural Networks: Tricks of the Trade.
    """

    order = 10  # after an averaging of the weights has put the judged ones in place

    def __init__(
        self,
        monitor: str = "val_loss",
        mode: Mode = "min",
        patience: int | None = 5,
        min_delta: float = 0.0,
        restore_best: bool = True,
        criterion: str | Criterion | None = None,
    ) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', got {mode!r}")
        if patience is not None and patience < 1:
            raise ValueError(f"patience must be at least 1 epoch, got {patience}")
        if criterion is not None and mode == "max":
            raise ValueError("a criterion compares errors; monitor one with mode='min'")
        found = resolve(criterion, stopping_criteria, "criterion")
        self.criterion: Criterion | None = found() if isinstance(criterion, str) else found
        self.monitor, self.mode, self.patience = monitor, mode, patience
        self.min_delta, self.restore_best = min_delta, restore_best
        self.best, self.best_epoch = math.inf, 0
        self.weights: dict[str, Tensor] | None = None

    def on_validation_epoch_end(self, trainer: "Trainer") -> None:
        value = monitored(trainer, self.monitor)
        value = value if self.mode == "min" else -value
        value = math.inf if math.isnan(value) else value
        if value < self.best - self.min_delta or self.weights is None:
            self.best, self.best_epoch = value, trainer.epoch + 1
            self.weights = {k: v.detach().clone() for k, v in trainer.model.state_dict().items()}
        if self._enough(trainer):
            trainer.should_stop = True

    def _enough(self, trainer: "Trainer") -> bool:
        if self.criterion is None:
            return self.patience is not None and (
                trainer.epoch + 1 - self.best_epoch >= self.patience
            )
        errors = [math.inf if math.isnan(e) else e for e in trainer.history[self.monitor]]
        if min(errors) <= 0:
            raise ValueError(
                f"a criterion compares ratios of errors, and monitor={self.monitor!r} has fallen "
                f"to {min(errors):g}; monitor a positive error, or use patience"
            )
        return self.criterion(errors, trainer.history["train_loss"])

    def on_fit_end(self, trainer: "Trainer") -> None:
        if self.restore_best and self.weights is not None:
            trainer.model.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.weights = state["weights"]


def monitored(trainer: "Trainer", name: str) -> float:
    """This epoch's value of a history column; an error that names the columns there are."""
    values = trainer.history.get(name)
    if values is None or values[-1] is None:
        have = ", ".join(k for k, v in trainer.history.items() if v[-1] is not None)
        raise ValueError(f"nothing called monitor={name!r} was measured, only {have}")
    return float(values[-1])

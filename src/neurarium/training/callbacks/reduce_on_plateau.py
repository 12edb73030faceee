"""Lower the learning rate when the validation figure no longer improves."""

import math
from typing import TYPE_CHECKING, Any

from neurarium.training.callbacks.base import Callback
from neurarium.training.callbacks.early_stopping import Mode, monitored

if TYPE_CHECKING:
    from neurarium.training.trainer import Trainer

__all__ = ["ReduceOnPlateau"]


class ReduceOnPlateau(Callback):
    r"""Multiply the learning rate by `factor` after more than `patience` epochs without a best.

    $$\eta \leftarrow \gamma\, \eta \quad\text{where}\quad
      t - t^* > \text{patience}, \qquad t^* = \arg\min_t E_{\text{val}}(t)$$

    The count begins anew after each reduction. Equal to torch's `ReduceLROnPlateau`; a schedule of
    the rule multiplies the reduced rate.

    Args:
        monitor: a column of the history: "val_loss", "val_accuracy", ...
        mode: whether less ("min") or more ("max") is better.
        factor: $\gamma$.
        threshold: share by which a new best must improve on the last.
        min_lr: the rate goes no lower.

    Source: He, Zhang, Ren & Sun (2015), Deep residual learning for image recognition, section 3.4,
    arXiv:1512.03385.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        mode: Mode = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        min_lr: float = 0.0,
    ) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', got {mode!r}")
        if not 0 < factor < 1:
            raise ValueError(f"factor must lie in (0, 1), got {factor}; it multiplies the rate")
        self.monitor, self.mode, self.factor, self.patience = monitor, mode, factor, patience
        self.threshold, self.min_lr = threshold, min_lr
        self.best, self.waited = math.inf if mode == "min" else -math.inf, 0

    def on_fit_start(self, trainer: "Trainer") -> None:
        if not hasattr(trainer.rule, "scale_lr"):
            raise ValueError(f"ReduceOnPlateau finds no learning rate in {trainer.rule!r}")

    def on_validation_epoch_end(self, trainer: "Trainer") -> None:
        value = monitored(trainer, self.monitor)
        if self.mode == "min":
            better = value < self.best * (1 - self.threshold)
        else:
            better = value > self.best * (1 + self.threshold)
        if better:
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            rule: Any = trainer.rule
            rule.scale_lr(max(self.factor, min(1.0, self.min_lr / rule.current_lr)))
            self.waited = 0

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.waited = state["best"], state["waited"]

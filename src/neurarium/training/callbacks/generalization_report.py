"""How far training and validation lie apart, epoch by epoch, and what that means."""

from typing import TYPE_CHECKING, Any

from neurarium.training import randomness
from neurarium.training.callbacks.base import Callback

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neurarium.training.trainer import Trainer

__all__ = ["GeneralizationReport"]


class GeneralizationReport(Callback):
    r"""Measure the generalization gap each epoch, and say whether the network over- or underfits.

    $$\text{gap}_t = E_{\text{val}}(\theta_t) - E_{\text{train}}(\theta_t), \qquad
      t^* = \arg\min_t E_{\text{val}}(\theta_t)$$

    Both are taken in evaluation mode with the same weights, which the usual training loss, a mean
    over an epoch of moving weights with dropout, is not. The history gains `gap_loss`,
    `gap_accuracy`, ... and, in evaluation mode, `train_accuracy`, ...; the steps stay what they
    are. The cost is one pass over the training split an epoch.

    `verdict` says one of these, with the figures it rests on: the network "underfits" when
    training took away less than half of the loss it started from; "overfits" when the validation
    loss has risen more than `tolerance` above its least while the training loss fell; "still
    learning" when the last epoch is the best; else it has "converged".

    Args:
        tolerance: share by which the validation loss must exceed its least.

    Source: Goodfellow, Bengio & Courville (2016), Deep Learning, section 5.2; networks that fit
    noise: Zhang et al. (2017), arXiv:1611.03530.
    """

    order = -5  # after an averaging of the weights has put the judged ones in place

    def __init__(self, tolerance: float = 0.05) -> None:
        if tolerance < 0:
            raise ValueError(f"tolerance must be at least 0, got {tolerance}; 0.05 is 5 %")
        self.tolerance = tolerance
        self.start: float | None = None
        self.train: list[float] = []
        self.val: list[float] = []

    def on_fit_start(self, trainer: "Trainer") -> None:
        if trainer.val is None:
            raise ValueError(
                "GeneralizationReport compares training with validation, and the data has no "
                "validation split; pass Data(train, val)"
            )
        if self.start is None:
            self.start = self._judge(trainer)["loss"]

    def on_validation_epoch_end(self, trainer: "Trainer") -> None:
        history = trainer.history
        figures = self._judge(trainer)
        for name, value in figures.items():
            measured = history.get(f"val_{name}")
            if measured is None or measured[-1] is None:
                continue
            columns = {f"gap_{name}": measured[-1] - value}
            if name not in trainer.totals:  # which the steps have already measured as train_...
                columns[f"train_{name}"] = value
            for column, number in columns.items():
                history.setdefault(column, [None] * len(history))[-1] = number
        self.train.append(figures["loss"])
        self.val.append(history["val_loss"][-1])

    def _judge(self, trainer: "Trainer") -> dict[str, float]:
        with randomness.isolated():
            return trainer.evaluate(trainer.train, trainer.train_batches)

    @property
    def best_epoch(self) -> int:
        """The epoch, from 1, of the least validation loss."""
        return self.val.index(min(self.val)) + 1

    @property
    def verdict(self) -> str:
        """One sentence on the run so far."""
        if not self.val or self.start is None:
            return "nothing was measured yet"
        last, best = len(self.val), self.best_epoch
        train, val = self.train[-1], self.val[-1]
        now = f"training loss {train:.4g}, validation loss {val:.4g}"
        if train > self.start / 2 and self.start > 0:
            return (
                f"underfits: {now}, from {self.start:.4g} before training; train longer, at "
                "another learning rate, or take a larger network"
            )
        train_then, val_then = self.train[best - 1], self.val[best - 1]
        at_best = f"{train_then:.4g} and {val_then:.4g} in epoch {best}"
        if val - val_then > self.tolerance * abs(val_then) and train < train_then:
            return (
                f"overfits since epoch {best}: {now}, after {at_best}; stop there "
                "(EarlyStopping), regularize, augment, or gather more data"
            )
        if best == last:
            return f"still learning: {now}, the least of all {last} epochs; train longer"
        return f"converged: {now}, after {at_best}"

    def plot(self) -> "Figure":
        """Training and validation loss in evaluation mode, with the gap between them."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5, 3.2), layout="constrained")
        axes = figure.add_subplot(xlabel="epoch", ylabel="loss")
        epochs = list(range(1, len(self.val) + 1))
        axes.plot(epochs, self.train, label="training")
        axes.plot(epochs, self.val, label="validation")
        axes.fill_between(epochs, self.train, self.val, alpha=0.15, label="gap")
        if self.val:
            axes.axvline(self.best_epoch, linestyle="--", color="gray", label="best epoch")
        axes.legend()
        return figure

    def state_dict(self) -> dict[str, Any]:
        return {"start": self.start, "train": self.train, "val": self.val}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.start, self.train, self.val = state["start"], state["train"], state["val"]

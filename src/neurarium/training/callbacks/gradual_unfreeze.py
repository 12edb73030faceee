"""Let a network's layers learn one after the other, the last first."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

from neurarium.training.callbacks.base import Callback
from neurarium.training.fine_tuning import layer_parameters

if TYPE_CHECKING:
    from neurarium.training.trainer import Trainer

__all__ = ["GradualUnfreeze"]


class GradualUnfreeze(Callback):
    r"""Train the last layer alone for an epoch, then with it the one before, and so on.

    $$\theta^l \text{ learns from epoch } L - l \text{ on}, \qquad l = 1, \dots, L$$

    What was frozen before the run stays so; afterwards everything is as it was.

    Args:
        layers: from the input to the output; by default the model's parts, as for
            `training.discriminative_lr`.
        epochs: how many each stage lasts.

    Source: Howard & Ruder (2018), Universal Language Model Fine-tuning for Text Classification,
    arXiv:1801.06146.
    """

    def __init__(self, layers: Sequence[nn.Module] | None = None, epochs: int = 1) -> None:
        if epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {epochs}; it is a stage's length")
        self.layers, self.epochs = layers, epochs
        self._groups: list[list[nn.Parameter]] = []

    def on_fit_start(self, trainer: "Trainer") -> None:
        groups = layer_parameters(trainer.model, self.layers)
        self._groups = [[p for p in own if p.requires_grad] for own in groups]
        if hasattr(trainer.rule, "by_hand"):  # which moves all weights
            trainer.rule.by_hand = None

    def on_train_epoch_start(self, trainer: "Trainer") -> None:
        learning = 1 + trainer.epoch // self.epochs
        for i, own in enumerate(reversed(self._groups)):
            _allow(own, i < learning)

    def on_fit_end(self, trainer: "Trainer") -> None:
        for own in self._groups:
            _allow(own, True)

    def on_exception(self, trainer: "Trainer", exception: BaseException) -> None:
        self.on_fit_end(trainer)


def _allow(parameters: list[nn.Parameter], gradient: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(gradient)

"""An exponential moving average of the weights, used for judging and at the end."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neurarium.training.callbacks.base import Callback

if TYPE_CHECKING:
    from neurarium.training.trainer import Trainer

__all__ = ["EMA"]


class EMA(Callback):
    r"""Average the weights exponentially over the steps; validate with, and end on, the average.

    $$\bar\theta_t = d_t\, \bar\theta_{t-1} + (1 - d_t)\, \theta_t, \qquad
      d_t = \min\Bigl(d,\; \frac{1 + t}{10 + t}\Bigr)$$

    The warm-up of $d_t$ makes the average useful from the first step on. Buffers (batch
    normalization's statistics) are averages already: they are copied as they are.

    Args:
        decay: $d$; the average looks back over about $1/(1-d)$ steps.

    Source: Polyak & Juditsky (1992), Acceleration of stochastic approximation by averaging, SIAM
    J. Control Optim. 30(4); the warm-up is TensorFlow's ExponentialMovingAverage.
    """

    order = -10  # its weights are in place before the others look

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {decay}; 0.999 averages 1,000 steps")
        self.decay, self.updates = decay, 0
        self.average: dict[str, Tensor] = {}
        self._raw: dict[str, Tensor] | None = None

    def on_fit_start(self, trainer: "Trainer") -> None:
        if not self.updates:
            self.average = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: "Trainer", outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        current = [p.detach() for p in trainer.model.parameters()]
        torch._foreach_lerp_(list(self.average.values()), current, 1 - decay)

    def on_validation_epoch_start(self, trainer: "Trainer") -> None:
        self._raw = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
        _copy(trainer, self.average)

    def on_train_epoch_end(self, trainer: "Trainer") -> None:
        if self._raw is not None:
            _copy(trainer, self._raw)
            self._raw = None

    def on_fit_end(self, trainer: "Trainer") -> None:
        if self.updates:
            _copy(trainer, self.average)

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "average": self.average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]
        for name, value in state["average"].items():
            device = self.average[name].device if name in self.average else value.device
            self.average[name] = value.to(device)


@torch.no_grad()
def _copy(trainer: "Trainer", values: dict[str, Tensor]) -> None:
    for name, parameter in trainer.model.named_parameters():
        parameter.copy_(values[name])

"""The mean of the last epochs' weights."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neurarium.training.callbacks.base import Callback

if TYPE_CHECKING:
    from neurarium.training.trainer import Trainer

__all__ = ["AverageCheckpoints"]


class AverageCheckpoints(Callback):
    r"""End on the mean of the weights after each of the last epochs.

    $$\bar\theta = \frac{1}{k} \sum_{i = E - k + 1}^{E} \theta_i$$

    Fewer where the run was shorter. Buffers, such as batch normalization's statistics, are those
    of the last epoch. `EMA` averages all steps, the late ones most, and validates with the mean.

    Args:
        last: $k$, the paper's 5 for its base models.

    Source: Vaswani et al. (2017), Attention Is All You Need, arXiv:1706.03762, section 6.1.
    """

    def __init__(self, last: int = 5) -> None:
        if last < 1:
            raise ValueError(f"last must be at least 1, got {last}; it counts epochs")
        self.last = last
        self.kept: list[dict[str, Tensor]] = []

    def on_train_epoch_end(self, trainer: "Trainer") -> None:
        now = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
        self.kept = [*self.kept, now][-self.last :]

    @torch.no_grad()
    def on_fit_end(self, trainer: "Trainer") -> None:
        for name, parameter in trainer.model.named_parameters():
            if self.kept:
                values = [weights[name].to(parameter) for weights in self.kept]
                parameter.copy_(torch.stack(values).mean(0))

    def state_dict(self) -> dict[str, Any]:
        return {"kept": self.kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.kept = state["kept"]

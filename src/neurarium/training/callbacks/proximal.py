"""Proximal steps after the optimizer's: exact zeros where a penalty's gradient only shrinks."""

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from neurarium.training.callbacks.base import Callback

if TYPE_CHECKING:
    from neurarium.training.trainer import Trainer

__all__ = ["Proximal"]


@runtime_checkable
class WithProx(Protocol):
    """A penalty of parameters in `neurarium.penalties`, or one of yours."""

    def select(self, model: nn.Module) -> list[nn.Parameter]: ...
    def prox(self, theta: Tensor, step: float) -> Tensor: ...


class Proximal(Callback):
    r"""Proximal gradient descent: after each step of the loss, the penalty's proximal step.

    $$\theta \leftarrow \operatorname{prox}_{\eta\Omega}(\theta - \eta \nabla L(\theta)), \qquad
      \operatorname{prox}_{\eta\Omega}(\theta) = \arg\min_x \tfrac12\lVert x - \theta\rVert^2
      + \eta\,\Omega(x)$$

    It takes the place of the penalty in the objective: give it here or there, not in both. The step
    $\eta$ is each parameter's learning rate at that step. With an optimizer that rescales
    gradients, such as Adam, the penalty is weighed against the rescaled loss.

    Args:
        penalty: one with `select` and `prox`: L1, L2, SCAD, MCP, GroupLasso, Nuclear.

    Raises:
        ValueError: at the start, if the rule has no learning rate.

    Source: Beck & Teboulle (2009), A fast iterative shrinkage-thresholding algorithm for linear
    inverse problems, SIAM J. Imaging Sciences 2(1); Parikh & Boyd (2014), Proximal algorithms.
    """

    order = -30  # before an average of the weights is taken

    def __init__(self, penalty: WithProx) -> None:
        if not hasattr(penalty, "prox"):
            raise ValueError(
                f"{type(penalty).__name__} has no proximal step; pass a penalty of parameters such "
                "as L1(1e-4), or add this one to the objective"
            )
        self.penalty = penalty
        self._rates: dict[int, float] = {}

    def on_fit_start(self, trainer: "Trainer") -> None:
        if not hasattr(trainer.rule, "current_lr"):
            raise ValueError(
                f"Proximal needs the rule's learning rate, which {type(trainer.rule).__name__} "
                "does not have; use Backprop"
            )

    def on_train_batch_start(self, trainer: "Trainer", batch: Any, batch_idx: int) -> None:
        # After the step the schedule has moved on.
        self._rate = trainer.rule.current_lr  # type: ignore[attr-defined]
        optimizer = getattr(trainer.rule, "optimizer", None)
        groups = optimizer.param_groups if isinstance(optimizer, torch.optim.Optimizer) else []
        self._rates = {id(p): float(group["lr"]) for group in groups for p in group["params"]}

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: "Trainer", outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for parameter in self.penalty.select(trainer.model):
            step = self._rates.get(id(parameter), self._rate)
            parameter.copy_(self.penalty.prox(parameter, step))

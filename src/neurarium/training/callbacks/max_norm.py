"""The max-norm constraint."""

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from neurarium.penalties import On
from neurarium.penalties._selection import check, select
from neurarium.training.callbacks.base import Callback

if TYPE_CHECKING:
    from neurarium.training.trainer import Trainer

__all__ = ["MaxNorm"]


class MaxNorm(Callback):
    r"""Keep the weights into each unit within a ball, by projection after every step.

    $$\min_\theta J(\theta) \;\text{ s.t. }\; \lVert w_u \rVert_2 \le c, \qquad
      w_u \leftarrow w_u \min(1,\; c / \lVert w_u \rVert)$$

    Args:
        c: the longest that a unit's weights may be; 3 or 4 go with dropout.
        dim: the axis that counts the units: 0 for rows of a linear layer and filters of a
            convolution, 1 for the inputs.
        scope: "unit", or "global" for one ball around all selected weights together, which is
            another constraint.
        on: "weights", "all", or a function (name, parameter) -> bool.

    Source: Srebro, Rennie & Jaakkola (2004), Maximum-margin matrix factorization, NIPS 17;
    Srivastava et al. (2014), Dropout, JMLR 15.
    """

    order = -20  # after a proximal step, before an average of the weights is taken

    def __init__(
        self,
        c: float = 3.0,
        dim: int = 0,
        scope: Literal["unit", "global"] = "unit",
        on: On = "weights",
    ) -> None:
        if not c > 0:
            raise ValueError(f"c must be positive, got {c}; it is the longest a unit may be")
        if scope not in ("unit", "global"):
            raise ValueError(f"scope must be 'unit' or 'global', got {scope!r}")
        self.c, self.dim, self.scope, self.on = c, dim, scope, check(on)

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: "Trainer", outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        weights: list[Tensor] = list(select(trainer.model, self.on, "MaxNorm"))
        if self.scope == "global":
            length = torch.stack(torch._foreach_norm(weights)).norm()
            torch._foreach_mul_(weights, (self.c / length).clamp(max=1))
            return
        for weight in weights:
            weight.renorm_(2, self.dim, self.c)
